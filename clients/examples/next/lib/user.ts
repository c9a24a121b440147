import { cookies } from "next/headers";

export interface User {
  readonly id: string;
  readonly plan: string;
}

const PLANS = ["free", "pro"];

/** Stands for your own session. A cookie that anybody can write proves nobody: do not copy this. */
export async function currentUser(): Promise<User> {
  const jar = await cookies();
  const plan = jar.get("plan")?.value ?? "free";
  return { id: jar.get("user")?.value || "guest", plan: PLANS.includes(plan) ? plan : "free" };
}
