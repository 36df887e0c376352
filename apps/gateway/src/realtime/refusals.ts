import { route } from '#libs/contracts';
import type { Refusal } from '../serve/errors.ts';
import { badRequest, overCapacity } from '../serve/errors.ts';

const { Outcome } = route;

export const notWebSocket: Refusal = {
  status: 426,
  code: 'upgrade_required',
  message: 'This endpoint speaks WebSocket version 13. Connect with a WebSocket client: wss://…/v1/realtime?model=….',
  outcome: Outcome.REJECTED_BAD_REQUEST,
  marker: ['upgrade', 'websocket'],
  close: true,
};

export const ambiguousHandshake: Refusal = badRequest(
  'ambiguous_handshake',
  'The upgrade names two models, or two keys that differ. Name each once.',
);

export const noModel: Refusal = badRequest(
  'missing_model',
  'The query names no "model", and there is not just one. Add ?model= with one of GET /v1/models.',
  'model',
  ['x-error-no-model-in-request', 'true'],
);

export const tooManySessions: Refusal = overCapacity('as many sessions as it can');

/** How we end a session: what its record says, and what both sides are told. */
export interface SessionEnd {
  readonly outcome: route.Outcome;
  readonly code: string;
  readonly message: string;
  readonly closeCode: number;
}

export const tooSilent = (idleMsMax: number): SessionEnd => ({
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'session_idle',
  message: `Nothing was sent either way for ${idleMsMax / 1000} s.`,
  closeCode: 1001,
});

export const sessionOver = (sessionMsMax: number): SessionEnd => ({
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'session_expired',
  message: `A session lasts at most ${sessionMsMax / 60_000} min. Connect again.`,
  closeCode: 1001,
});

export const stalledEnd: SessionEnd = {
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'session_stalled',
  message: 'One side took nothing of what waited for it.',
  closeCode: 1008,
};

export const stoppedEnd: SessionEnd = {
  outcome: Outcome.EVICTED_DEADLINE,
  code: 'gateway_stopped',
  message: 'The gateway stopped. Connect again.',
  closeCode: 1012,
};

export const brokenByEngine = (said: string): Omit<SessionEnd, 'closeCode'> => ({
  outcome: Outcome.UPSTREAM_BROKEN,
  code: 'upstream_broken',
  message: `The replica failed inside the session: ${said}. Connect again.`,
});
