import { RatelimitThrottlerStorage } from "ratelimit-client/nestjs";
import { options } from "./client.js";

export class ThrottlerStorageService extends RatelimitThrottlerStorage {
  constructor() {
    super(options());
  }
}
