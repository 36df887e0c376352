import type { Msg, MsgHdrs } from '@nats-io/transport-node';
import { headers } from '@nats-io/transport-node';
import type { BusHeaders, BusMessage, RequestContext, Requester, Responder, Stop, Telemetry } from '#libs/event-log';
import { busLimits, carriedError } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { NatsLink } from './connection.ts';
import { isForbidden, isTimeout } from './errors.ts';

const deadlineHeader = 'lintel-deadline-ms';
/** Present on an answer that is an error; its body is {code, message, advice}. */
const errorHeader = 'lintel-error';

function toHeaders(from: BusHeaders | undefined, more: BusHeaders): MsgHdrs {
  const head = headers();
  for (const [name, value] of Object.entries({ ...from, ...more })) head.set(name, value);
  return head;
}

function fromHeaders(head: MsgHdrs | undefined): BusHeaders {
  const plain: Record<string, string> = {};
  for (const name of head?.keys() ?? []) plain[name.toLowerCase()] = head?.get(name) ?? '';
  return plain;
}

/** Request/reply with a deadline, and errors that keep their codes. */
export class NatsRequester implements Requester {
  constructor(private readonly link: NatsLink) {}

  async request(
    subject: string,
    bytes: Uint8Array,
    options: { deadlineMs: number; headers?: BusHeaders },
  ): Promise<BusMessage> {
    const { nc } = this.link;
    if (!this.link.connected) throw unavailable(subject, 'nats-server is away');
    const deadlineMs = Math.min(options.deadlineMs, busLimits.deadlineMsMax);
    if (bytes.byteLength > busLimits.messageBytesMax) throw tooLarge(subject, bytes);
    let answer: Msg;
    try {
      answer = await nc.request(subject, bytes, {
        timeout: Math.max(1, deadlineMs),
        headers: toHeaders(options.headers, { [deadlineHeader]: String(deadlineMs) }),
      });
    } catch (cause) {
      throw asBusError(subject, deadlineMs, cause);
    }
    if (answer.headers?.has(errorHeader) === true) throw carried(answer);
    return { bytes: answer.data, headers: fromHeaders(answer.headers) };
  }
}

function unavailable(subject: string, why: string, cause?: unknown): CodedError {
  return new CodedError('BUS_UNAVAILABLE', `${subject}: ${why}`, {
    advice: 'The connection comes back by itself: try again.',
    cause,
  });
}

function tooLarge(subject: string, bytes: Uint8Array): CodedError {
  return new CodedError('BUS_TOO_LARGE', `${subject}: ${bytes.byteLength} bytes, bound ${busLimits.messageBytesMax}`);
}

function asBusError(subject: string, deadlineMs: number, cause: unknown): CodedError {
  if (isForbidden(cause)) {
    return new CodedError('BUS_FORBIDDEN', `the broker does not let this user ask ${subject}`, {
      advice: 'Connect as an app that may: docs/event-log.md lists who may say what.',
      cause,
    });
  }
  if (isTimeout(cause))
    return new CodedError('BUS_DEADLINE', `no answer from ${subject} in ${deadlineMs} ms`, { cause });
  if (/no responders/i.test(errorText(cause))) {
    return new CodedError('BUS_NO_RESPONDER', `nobody answers ${subject}`, {
      advice: 'Start the service that owns the subject.',
      cause,
    });
  }
  return unavailable(subject, errorText(cause), cause);
}

function carried(answer: Msg): CodedError {
  try {
    const { code, message, advice } = answer.json<{ code: string; message: string; advice?: string }>();
    return new CodedError(code, message, advice === undefined ? {} : { advice });
  } catch (cause) {
    return new CodedError('INTERNAL', 'the answer is an error that cannot be read', { cause });
  }
}

export class NatsResponder implements Responder {
  constructor(private readonly link: NatsLink) {}

  async respond(
    subject: string,
    queue: string,
    handler: (bytes: Uint8Array, context: RequestContext) => Promise<Uint8Array | BusMessage>,
  ): Promise<Stop> {
    const { nc } = this.link;
    const running = new Set<Promise<void>>();
    const subscription = nc.subscribe(subject, {
      queue,
      callback: (error, msg) => {
        if (error !== null) return;
        const work: Promise<void> = answer(msg, handler).finally(() => running.delete(work));
        running.add(work);
      },
    });
    // The subscription is with the server when this returns.
    await nc.flush();
    return async () => {
      subscription.unsubscribe();
      await Promise.all(running);
    };
  }
}

async function answer(
  msg: Msg,
  handler: (bytes: Uint8Array, context: RequestContext) => Promise<Uint8Array | BusMessage>,
): Promise<void> {
  const all = fromHeaders(msg.headers);
  const { [deadlineHeader]: deadline, ...rest } = all;
  const deadlineMs = Math.min(Number(deadline) || busLimits.deadlineMsMax, busLimits.deadlineMsMax);
  try {
    const result = await handler(msg.data, { subject: msg.subject, headers: rest, deadlineMs });
    const { bytes, headers: head } = result instanceof Uint8Array ? { bytes: result, headers: {} } : result;
    if (bytes.byteLength > busLimits.messageBytesMax) throw tooLarge(msg.subject, bytes);
    msg.respond(bytes, { headers: toHeaders(head, {}) });
  } catch (thrown) {
    const { code, message, advice } = carriedError(thrown);
    msg.respond(JSON.stringify({ code, message, advice }), { headers: toHeaders({}, { [errorHeader]: '1' }) });
  }
}

/** Last value wins over core NATS. While the server is away values are dropped, and counted. */
export class NatsTelemetry implements Telemetry {
  /** Values not sent because nobody could have taken them. */
  dropped = 0;

  constructor(private readonly link: NatsLink) {}

  publish(subject: string, bytes: Uint8Array): void {
    try {
      if (this.link.connected) return this.link.nc.publish(subject, bytes);
    } catch {
      // Closed in this very moment: counted with the rest, since nobody waits for a value.
    }
    this.dropped++;
  }

  async subscribe(pattern: string, handler: (subject: string, bytes: Uint8Array) => void): Promise<Stop> {
    const subscription = this.link.nc.subscribe(pattern, {
      callback: (error, msg) => {
        if (error === null) handler(msg.subject, msg.data);
      },
    });
    await this.link.nc.flush();
    return async () => subscription.unsubscribe();
  }
}
