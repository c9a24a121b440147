"""What is shipped to whoever operates servers with the module: the command `ratelimit`.

cli          the one entry point: which subcommand is which file
top, console, exporter                  look (the console also changes)
policy_sync, deny_sync, region_sync     keep servers as a file, a source or other regions have it
join                                    gives a server that joins what another has
remove                                  takes the module's data out of servers
servers/     how all of them find, ask and change servers
page/        what the console serves to the browser

The standard library is all it needs (Python 3.11 or newer); the exporter also wants prometheus_client.
"""
