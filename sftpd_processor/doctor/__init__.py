"""What a server allows and how it behaves, found out by trying in a scratch folder that is removed again.

`examination` walks through the steps on a `place`, `findings` holds what they found, `advice` says what follows.
"""
