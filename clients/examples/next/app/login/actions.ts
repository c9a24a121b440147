"use server";

import { headers } from "next/headers";
import { byLogin } from "ratelimit-client";
import { addressOf, login } from "@/lib/limits";

/** Stands for your own check of a password. */
const isRight = (email: string, password: string): boolean => email === "alice@example.com" && password === "correct horse";

const inWords = (ms: number): string => {
  const minutes = Math.ceil(ms / 60_000);
  return minutes > 90 ? `${Math.ceil(minutes / 60)} hours` : `${minutes} minutes`;
};

/** A form's data is whatever a stranger sends. */
const field = (form: FormData, name: string): string => {
  const value = form.get(name);
  return typeof value === "string" ? value.slice(0, 200) : "";
};

export async function logIn(_before: string, form: FormData): Promise<string> {
  const [email, password] = [field(form, "email"), field(form, "password")];
  if (email.trim() === "") return "Please type your e-mail address.";
  const verdict = await login.hit(await byLogin({ address: addressOf({ headers: await headers() }), email }));
  if (verdict.error) return "Please try again in a moment.";
  if (!verdict.allowed) return `Too many attempts. Try again in ${inWords(verdict.retryAfterMs)}.`;
  return isRight(email, password) ? "Welcome back." : `Wrong e-mail address or password. ${verdict.remaining} attempts left.`;
}
