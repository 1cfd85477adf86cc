"""Google Cloud: one module is one thing that Google Cloud has.

What `after` names must exist first. `key` encrypts what is stored; without one, a key of Google's does.
"""
