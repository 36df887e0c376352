import type { Flight, SignalGroups } from '#libs/latency-model';
import { FleetSignals, signalGroups } from '#libs/latency-model';
import type { Column } from '#libs/scheduling';
import { columns } from '#libs/scheduling';
import type { FeedSet } from './feeds.ts';
import { standardFeeds } from './feeds.ts';
import type { SimRequest } from './request.ts';

const model = 'model';
const engine = 'engine';

const askedBy = ({ tenant, promptTokens, maxTokens }: SimRequest) => ({ tenant, model, promptTokens, maxTokens });

/**
 * The standard columns, and those that a gateway learns from its own requests, by the code that the gateway runs.
 * `landed`: each flight at its end, with what was foretold of it.
 */
export function learnedFeeds(landed?: (flight: Flight, request: SimRequest) => void): FeedSet {
  const { columns: standard } = standardFeeds();
  const signals = new FleetSignals();
  const flights = new Map<number, Flight>();
  let readBefore: readonly Column[] | undefined;
  let groups: SignalGroups = signalGroups([]);
  return {
    columns: standard,
    writes: columns.filter((column) => signalGroups([column]).any),
    ask(request, reads, nowMs) {
      if (reads !== readBefore) groups = signalGroups(reads);
      readBefore = reads;
      if (groups.any) signals.ask(askedBy(request), groups, nowMs);
    },
    workOn: (id) => {
      const load = signals.replicas.get(id);
      if (load === undefined) return undefined;
      const { prefillTokens, decoding, outputTokens } = load;
      return { prefillTokens, decoding, outputTokens };
    },
    write(table, row, { id, workElsewhere }, nowMs) {
      if (!groups.any) return;
      const load = signals.replica(id);
      signals.write(table, row, load, signals.latency(load, model, engine), groups, nowMs, workElsewhere);
    },
    dispatched({ request, replicaId, believedTokens, nowMs }) {
      const { tenant, promptTokens } = request;
      const outputTokens = signals.outputTokens(askedBy(request));
      const sent = { tenant, model, promptTokens, cachedTokens: believedTokens, outputTokens, stream: true };
      const load = signals.replica(replicaId);
      flights.set(request.index, signals.sent(load, signals.latency(load, model, engine), sent, nowMs));
    },
    firstToken({ request, nowMs }) {
      signals.firstToken(flights.get(request.index) as Flight, nowMs);
    },
    finished({ request, cachedTokens, nowMs }) {
      const { promptTokens, outputTokens } = request;
      const flight = flights.get(request.index) as Flight;
      const came = { whole: true, promptTokens, outputTokens, cachedTokens };
      signals.landed(flight, came, nowMs);
      landed?.(flight, request);
      flights.delete(request.index);
    },
  };
}
