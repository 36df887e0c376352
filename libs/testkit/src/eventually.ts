/** Runs the check until it passes; rethrows its last failure after the time. For what comes over a broker. */
export async function eventually(check: () => void | Promise<void>, timeoutMs = 5_000): Promise<void> {
  const untilMs = Date.now() + timeoutMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (thrown) {
      if (Date.now() > untilMs) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
