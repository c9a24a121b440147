export { restClient, type RestClientOptions } from "./client.js";
export { restHandler, RL_COMMANDS, type RestHandlerOptions } from "./handler.js";
