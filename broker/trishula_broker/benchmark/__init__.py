"""``broker bench``: an open-loop load on a hub, as its users' agents would put it there.

Two processes besides the command's own, one with the agents that send and one with those that
receive, so that neither's work delays the other's clock. They use the public SDK and nothing else.
"""
