const windowMs = 1000;
const windowsMax = 4096;

interface Window {
  startMs: number;
  used: number;
}

/** Requests per second by name, in windows of a second, in this gateway alone. */
export class RateLimit {
  readonly #windows = new Map<string, Window>();

  /** False where this second is used up. */
  take(name: string, perSecond: number, nowMs: number): boolean {
    let window = this.#windows.get(name);
    if (window === undefined) {
      // Names come from configuration and models in service; past the bound the oldest starts anew.
      if (this.#windows.size >= windowsMax) this.#windows.delete(this.#windows.keys().next().value as string);
      window = { startMs: nowMs, used: 0 };
      this.#windows.set(name, window);
    }
    if (nowMs - window.startMs >= windowMs) {
      window.startMs = nowMs;
      window.used = 0;
    }
    if (window.used >= perSecond) return false;
    window.used++;
    return true;
  }
}
