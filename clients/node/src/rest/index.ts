export { restClient, type RestClientOptions } from "./client.js";
export { restHandler, type RestHandlerOptions, type Tokens } from "./handler.js";
export { ADMIN_COMMANDS, EDGE_COMMANDS } from "./permission.js";
