"""How the scripts read and change servers with the module: one way for all of them.

connection  a connection that speaks RESP3
nodes       which servers are meant: the options that name them, and a cluster's primaries
reading     what INFO and RL.STATS tell, as values
deny        deny lists: swapped in whole, and the note of the last deny-sync
text        text of others, made harmless for a terminal or a label

The standard library is all it needs (Python 3.11 or newer).
"""
