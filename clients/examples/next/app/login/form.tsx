"use client";

import { useActionState } from "react";
import { logIn } from "./actions";

export function LoginForm() {
  const [message, action, pending] = useActionState(logIn, "");
  return (
    <form action={action}>
      <p>
        <label>
          E-mail <input name="email" type="email" defaultValue="alice@example.com" />
        </label>
      </p>
      <p>
        <label>
          Password <input name="password" type="password" />
        </label>
      </p>
      <button disabled={pending}>Log in</button>
      <p role="status">{message}</p>
    </form>
  );
}
