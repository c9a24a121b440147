"use server";

import { revalidatePath } from "next/cache";
import { byUser } from "ratelimit-client";
import { perUser } from "@/lib/limits";
import { currentUser } from "@/lib/user";

export async function click(): Promise<void> {
  const user = await currentUser();
  const verdict = await perUser.hit(byUser(user.id));
  if (verdict.allowed) console.log(`${user.id} has clicked`); // what a click is for
  revalidatePath("/");
}
