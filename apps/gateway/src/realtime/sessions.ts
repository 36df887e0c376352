import type { Duplex } from 'node:stream';
import { realtimeEndpoint, targetOf } from '../serve/endpoints.ts';
import type { Upgrades } from '../serve/http/front.ts';
import type { HttpRequest } from '../serve/http/types.ts';
import type { Plane } from '../serve/plane.ts';
import type { RealtimeLimits } from './limits.ts';
import { realtimeLimits } from './limits.ts';
import { RealtimeSession } from './session.ts';

/** The sessions of one data plane; they stand among its requests in flight. */
export class RealtimeSessions implements Upgrades {
  #open = 0;
  readonly #plane: Plane;
  readonly #limits: RealtimeLimits;

  constructor(plane: Plane, limits: Partial<RealtimeLimits> = {}) {
    this.#plane = plane;
    this.#limits = { ...realtimeLimits, ...limits };
  }

  /** Whatever else asks to speak another protocol is answered in HTTP. */
  accepts({ url = '', headers }: HttpRequest): boolean {
    return /^websocket$/i.test(headers.upgrade ?? '') && targetOf(url)?.endpoint === realtimeEndpoint;
  }

  take(request: HttpRequest, socket: Duplex, head: Buffer): void {
    this.#open++;
    const session = new RealtimeSession({
      plane: this.#plane,
      limits: this.#limits,
      endpoint: realtimeEndpoint,
      query: targetOf(request.url ?? '')?.query ?? '',
      request,
      socket,
      head,
      full: () => this.#open > this.#limits.sessionsMax,
      ended: () => this.#open--,
    });
    session.begin();
  }
}
