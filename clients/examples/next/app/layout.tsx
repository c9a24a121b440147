import type { ReactNode } from "react";

export const metadata = { title: "Rate limits" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body style={{ fontFamily: "system-ui, sans-serif", maxWidth: "40rem", margin: "3rem auto" }}>{children}</body>
    </html>
  );
}
