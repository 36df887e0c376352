import type { CustomTransportStrategy, MessageHandler } from '@nestjs/microservices';
import { BaseRpcContext, Server } from '@nestjs/microservices';
import { isObservable, lastValueFrom } from 'rxjs';
import type { EventType, MessageType } from '#libs/contracts';
import { eventTypes, findMessageType, messagePatterns, messageSubject, subjects } from '#libs/contracts';
import type { BusHeaders, DecodedCommit, RequestContext, Responder, Stop } from '#libs/event-log';
import { CodedError, closest } from '#libs/kernel';
import { decodeMessage, encodeMessage } from './message-codec.ts';

/** Second argument of a message handler (`@Ctx()`). */
export class MessageContext extends BaseRpcContext<[RequestContext]> {
  get headers(): BusHeaders {
    return this.args[0].headers;
  }

  /** Milliseconds that the caller still waits, when the request came in. */
  get deadlineMs(): number {
    return this.args[0].deadlineMs;
  }
}

/** Second argument of an event handler: the commit that holds the event, and which of its events it is. */
export class EventDelivery extends BaseRpcContext<[DecodedCommit, number]> {
  get commit(): DecodedCommit {
    return this.args[0];
  }

  /** With the commit id it names the effect: a delivery may come again. */
  get index(): number {
    return this.args[1];
  }
}

/** Something that reacts to accepted commits: `NatsReactor`, or `MemoryReactor`. */
export interface LogReactor {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface LintelTransportOptions {
  readonly responder: Responder;
  /** Instances of one queue share the requests, and the progress of event handlers: the app's name. */
  readonly queue: string;
  /** Makes the reactor of an event handler; without it event handlers are refused at start. */
  readonly makeReactor?: (options: {
    /** `<queue>-<context>-<event type>`, for ever. */
    readonly consumer: string;
    readonly subject: string;
    readonly handler: (commit: DecodedCommit) => Promise<void>;
  }) => LogReactor;
}

/**
 * Nest's `@MessagePattern('route.RegisterReplica')` over the bus, and `@EventPattern('route.ReplicaDrained')` over the log.
 * Each pattern must stand in the contracts, else `listen` fails; requests are decoded by them before a handler runs.
 */
export class LintelTransport extends Server implements CustomTransportStrategy {
  override readonly transportId = Symbol.for('lintel');
  /** A handler's failure reaches the reactor, which tries again and parks. */
  override readonly propagatesEventHandlerErrors = true;
  readonly #stops: Stop[] = [];

  constructor(private readonly settings: LintelTransportOptions) {
    super();
  }

  async listen(callback: (error?: unknown) => void): Promise<void> {
    try {
      const bound = [...this.messageHandlers].map(([pattern, handler]) =>
        handler.isEventHandler === true
          ? { event: eventType(pattern), handler }
          : { message: messageType(pattern), handler },
      );
      for (const each of bound) {
        if (each.message !== undefined) await this.#serve(each.message, each.handler);
        else await this.#react(each.event, each.handler);
      }
    } catch (error) {
      await this.close();
      callback(error);
      return;
    }
    callback();
  }

  async close(): Promise<void> {
    await Promise.all(this.#stops.splice(0).map((stop) => stop()));
  }

  on(event: string): never {
    throw new CodedError('TRANSPORT_NO_EVENTS', `the transport has no event "${event}"`);
  }

  unwrap<T>(): T {
    return this.settings.responder as T;
  }

  async #serve(type: MessageType, handler: MessageHandler): Promise<void> {
    const { responder, queue } = this.settings;
    const stop = await responder.respond(messageSubject(type), queue, async (bytes, request) => {
      const message = decodeMessage(type.request, bytes, 'BAD_REQUEST');
      const answer = await settled(handler(message, new MessageContext([request])));
      return encodeMessage(type.response, (answer ?? {}) as never, 'BAD_ANSWER');
    });
    this.#stops.push(stop);
  }

  async #react(type: EventType, handler: MessageHandler): Promise<void> {
    const { makeReactor, queue } = this.settings;
    if (makeReactor === undefined) {
      throw new CodedError('TRANSPORT_NO_REACTOR', `${type.context}.${type.type} has a handler, the transport no log`, {
        advice: 'Give makeReactor to LintelTransport.',
      });
    }
    const reactor = makeReactor({
      consumer: `${queue}-${type.context}-${type.type}`,
      subject: subjects.events(type.context, type.aggregate),
      handler: async (commit) => {
        for (const [index, event] of commit.events.entries()) {
          if (event.type !== type.type) continue;
          // Nest itself calls the further handlers of the pattern.
          await settled(handler(event.data, new EventDelivery([commit, index])));
        }
      },
    });
    await reactor.start();
    this.#stops.push(() => reactor.stop());
  }
}

/** What a handler came to, whichever way Nest wraps it. What it throws is thrown as an error. */
async function settled(result: unknown): Promise<unknown> {
  try {
    const value = await result;
    return isObservable(value) ? await lastValueFrom(value, { defaultValue: undefined }) : value;
  } catch (thrown) {
    if (thrown instanceof Error) throw thrown;
    // Nest's own shape of an error that no filter let through.
    const message = (thrown as { message?: unknown } | null)?.message;
    throw new CodedError('INTERNAL', typeof message === 'string' ? message : 'the handler failed', { cause: thrown });
  }
}

function messageType(pattern: string): MessageType {
  const type = findMessageType(pattern);
  if (type !== undefined) return type;
  throw unknownPattern(pattern, 'command or query', messagePatterns());
}

function eventType(pattern: string): EventType {
  const names = eventTypes.map(({ context, type }) => `${context}.${type}`);
  const found = eventTypes[names.indexOf(pattern)];
  if (found !== undefined) return found;
  throw unknownPattern(pattern, 'event', names);
}

function unknownPattern(pattern: string, what: string, known: readonly string[]): CodedError {
  const near = closest(pattern, known);
  return new CodedError('PATTERN_UNKNOWN', `"${pattern}" is no ${what} of the contracts`, {
    advice: near === undefined ? 'See proto/lintel.' : `Did you mean "${near}"?`,
  });
}
