import type { Timers } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { BusHeaders, BusMessage, RequestContext, Requester, Responder, Stop, Telemetry } from './bus.ts';
import { busLimits } from './bus.ts';
import { subjectFilter } from './subject-filter.ts';

type Handler = (bytes: Uint8Array, context: RequestContext) => Promise<Uint8Array | BusMessage>;

/** Request/reply and telemetry inside one process. One member of each queue answers in turn; the first answer counts. */
export class MemoryBus implements Requester, Responder, Telemetry {
  readonly #queues = new Map<string, Map<string, Handler[]>>();
  readonly #subscribers = new Set<{
    wanted: (subject: string) => boolean;
    handler: (subject: string, bytes: Uint8Array) => void;
  }>();
  #turn = 0;

  constructor(private readonly timers: Timers) {}

  async request(
    subject: string,
    bytes: Uint8Array,
    options: { deadlineMs: number; headers?: BusHeaders },
  ): Promise<BusMessage> {
    const members = [...(this.#queues.get(subject)?.values() ?? [])].filter(({ length }) => length > 0);
    if (members.length === 0) {
      throw new CodedError('BUS_NO_RESPONDER', `nobody answers ${subject}`, {
        advice: 'Start the service that owns the subject.',
      });
    }
    const deadlineMs = Math.min(options.deadlineMs, busLimits.deadlineMsMax);
    const context = { subject, headers: options.headers ?? {}, deadlineMs };
    const turn = this.#turn++;
    const answers = members.map((queue) => this.#answer(queue[turn % queue.length] as Handler, bytes, context));
    const late = Promise.withResolvers<never>();
    const timer = this.timers.after(deadlineMs, () =>
      late.reject(new CodedError('BUS_DEADLINE', `no answer from ${subject} in ${deadlineMs} ms`)),
    );
    try {
      return await Promise.race([...answers, late.promise]);
    } finally {
      timer.cancel();
    }
  }

  async #answer(handler: Handler, bytes: Uint8Array, context: RequestContext): Promise<BusMessage> {
    try {
      const answer = await handler(bytes, context);
      return answer instanceof Uint8Array ? { bytes: answer, headers: {} } : answer;
    } catch (thrown) {
      throw carriedError(thrown);
    }
  }

  async respond(subject: string, queue: string, handler: Handler): Promise<Stop> {
    const queues = this.#queues.get(subject) ?? new Map<string, Handler[]>();
    this.#queues.set(subject, queues);
    const members = queues.get(queue) ?? [];
    queues.set(queue, members);
    members.push(handler);
    return async () => {
      const index = members.indexOf(handler);
      if (index >= 0) members.splice(index, 1);
    };
  }

  publish(subject: string, bytes: Uint8Array): void {
    for (const { wanted, handler } of this.#subscribers) if (wanted(subject)) handler(subject, bytes);
  }

  async subscribe(pattern: string, handler: (subject: string, bytes: Uint8Array) => void): Promise<Stop> {
    const subscriber = { wanted: subjectFilter([pattern]), handler };
    this.#subscribers.add(subscriber);
    return async () => void this.#subscribers.delete(subscriber);
  }
}

/** What of an error crosses the bus: code, message and advice, never the stack. An uncoded one becomes INTERNAL. */
export function carriedError(thrown: unknown): CodedError {
  const code = thrown instanceof CodedError ? errorCode(thrown) : 'INTERNAL';
  const advice = thrown instanceof CodedError ? thrown.advice : undefined;
  return new CodedError(code, errorText(thrown), advice === undefined ? {} : { advice });
}
