import type { HttpRequest, HttpResponse } from './http/types.ts';
import type { ServeLimits } from './limits.ts';

type StartingLimits = Pick<ServeLimits, 'startingHeldMax' | 'startingWaitMsMax'>;

interface Held {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly sinceMs: number;
}

/** What becomes of a request that was held. */
export interface HeldRequests {
  serve(request: HttpRequest, response: HttpResponse): void;
  refuse(request: HttpRequest, response: HttpResponse, why: string): void;
}

/**
 * Requests that come before the gateway knows its configuration: refused by what it does not know yet they would be told wrong things. They
 * wait, unread; bounded in number and time.
 */
export class Starting {
  #held: Held[] = [];
  readonly #waitsFor: () => string | undefined;
  readonly #limits: StartingLimits;
  readonly #then: HeldRequests;

  constructor(waitsFor: () => string | undefined, limits: StartingLimits, then: HeldRequests) {
    this.#waitsFor = waitsFor;
    this.#limits = limits;
    this.#then = then;
  }

  /** Takes a request; `isOver` has to be asked first. */
  take(request: HttpRequest, response: HttpResponse, nowMs: number): void {
    if (this.#held.length >= this.#limits.startingHeldMax) {
      this.#then.refuse(request, response, this.#waitsFor() ?? '');
      return;
    }
    request.pause();
    this.#held.push({ request, response, sinceMs: nowMs });
  }

  /** Nothing has to be waited for any more: those held are served, and none is taken after. */
  isOver(): boolean {
    if (this.#waitsFor() !== undefined) return false;
    for (const { request, response } of this.#held.splice(0))
      this.#go(request, () => this.#then.serve(request, response));
    return true;
  }

  sweep(nowMs: number): void {
    const why = this.#waitsFor() ?? '';
    const late = ({ sinceMs }: Held): boolean => nowMs - sinceMs >= this.#limits.startingWaitMsMax;
    const lates = this.#held.filter(late);
    if (lates.length === 0) return;
    this.#held = this.#held.filter((held) => !late(held));
    for (const { request, response } of lates) this.#go(request, () => this.#then.refuse(request, response, why));
  }

  /** The gateway stops. */
  stop(): void {
    for (const { request, response } of this.#held.splice(0)) {
      this.#go(request, () => this.#then.refuse(request, response, 'it is stopping'));
    }
  }

  /** Who listens to the body has to be there before it is read. */
  #go(request: HttpRequest, then: () => void): void {
    if (request.socket.destroyed) return;
    then();
    request.resume();
  }
}
