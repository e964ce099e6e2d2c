"""The two listeners: the public one, which Webio calls, and the operators' one."""
