"""How the subcommands find, read and change servers with the module: one way for all of them.

connection  a connection that speaks RESP3
nodes       which servers are meant: the options that name them, and a cluster's primaries
once        what is costly to collect is collected once at a time
reading     what INFO and RL.STATS tell, as values
policies    how a server spells policies, and their fingerprint
synced      the note of the last deny sync
text        text of others, made harmless for a terminal or a label
"""
