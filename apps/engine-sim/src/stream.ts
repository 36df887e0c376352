import type { ServerResponse } from 'node:http';
import type { Timers } from '#libs/kernel';
import type { Fault } from './faults.ts';

/** Server-sent events, each a whole block of text with its empty line. */
export interface EventStream {
  write(event: string): void;
  /** The last event, after which the answer is whole. */
  end(event: string): void;
}

/** The head goes out at once, before the first token, as in the real server. */
export function openStream(response: ServerResponse, timers: Timers, fault: Fault): EventStream {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.flushHeaders();
  const stream: EventStream = {
    write: (event) => void response.write(event),
    end: (event) => void response.end(event),
  };
  const { badJson, slowMs } = fault;
  const breaking = fault.resetAfter ?? fault.cutAfter;
  const broken = breaking === undefined ? stream : breakingStream(stream, response, timers, breaking, fault);
  const bad = badJson === true ? mapped(broken, (event) => event.replace(/\}\n\n$/, '\n\n')) : broken;
  return slowMs === undefined ? bad : slowStream(bad, timers, slowMs);
}

function mapped(stream: EventStream, change: (event: string) => string): EventStream {
  return { write: (event) => stream.write(change(event)), end: (event) => stream.end(change(event)) };
}

const resetGraceMs = 10;

/**
 * A reset throws away what the peer has not read yet, so it comes a little later. Twice a timer, so that a peer in this
 * very process gets its turn between them however late the first one is.
 */
export function afterGrace(timers: Timers, act: () => void): void {
  timers.after(resetGraceMs, () => void timers.after(resetGraceMs, act));
}

/** Breaks off after some events. */
function breakingStream(
  stream: EventStream,
  response: ServerResponse,
  timers: Timers,
  after: number,
  fault: Fault,
): EventStream {
  let events = 0;
  const cut = (): void => {
    if (fault.resetAfter === undefined) response.socket?.end();
    else response.socket?.resetAndDestroy();
  };
  const take = (event: string): void => {
    events++;
    if (events <= after) stream.write(event);
    else if (events === after + 1) afterGrace(timers, cut);
  };
  return { write: take, end: take };
}

/** Each event this much after the one before. At most the events of one answer wait here. */
function slowStream(stream: EventStream, timers: Timers, slowMs: number): EventStream {
  const waiting: (() => void)[] = [];
  const next = (): void => {
    timers.after(slowMs, () => {
      waiting.shift()?.();
      if (waiting.length > 0) next();
    });
  };
  const later = (act: () => void): void => {
    waiting.push(act);
    if (waiting.length === 1) next();
  };
  return {
    write: (event) => later(() => stream.write(event)),
    end: (event) => later(() => stream.end(event)),
  };
}
