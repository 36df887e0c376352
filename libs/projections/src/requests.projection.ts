import { createHash } from 'node:crypto';
import { isSubjectId, route } from '#libs/contracts';
import type { StoredFrame } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { Changes } from './changes.ts';
import { enumText } from './enum-text.ts';
import { cutFrame } from './frame-cutter.ts';
import { cursorTable, FrameCursors, gapTable } from './frame-cursors.ts';
import type { Fold, Projection, StateRows } from './projection.ts';
import type { FrameFacts, RecordFacts } from './record-facts.ts';
import { bootIdLengthMax, receivedAtMsOf } from './received-at.ts';
import type { Row, Table } from './table.ts';
import { isPriced } from './usage-facts.ts';

export const requestTable: Table = {
  name: 'request',
  view: 'requests_view',
  appendOnly: true,
  columns: {
    request_id: 'text',
    received_at: 'time',
    gateway_id: 'text',
    boot_id: 'text',
    frame_seq: 'int',
    /** 48 bits of sha256 over gateway, boot and frame: the key in a tenth of their bytes. Rows that are not the same share one only if they came in the same millisecond as well. */
    frame_key: 'int',
    record_index: 'int',
    stream_seq: 'int',
    tenant_id: 'text',
    key_id: 'text',
    end_user: 'text',
    model: 'text',
    adapter: 'text',
    endpoint: 'text',
    stream: 'bool',
    profile: 'text',
    strategy: 'text',
    policy_id: 'text',
    policy_version: 'int',
    /** The replica that answered; null when none did. */
    replica_id: 'text',
    /** lintel.route.v1.Outcome without its prefix: "completed", "rejected_auth". */
    outcome: 'text',
    http_status: 'int',
    error_code: 'text',
    attempts: 'int',
    ttft_ms: 'float',
    tpot_ms: 'float',
    total_ms: 'float',
    prompt_tokens: 'int',
    completion_tokens: 'int',
    cached_tokens: 'int',
    /** Billionths of the currency; null where nobody knows what it cost, or it cost nothing since nobody served it. */
    cost_nano: 'int',
    currency: 'text',
    traceparent: 'text',
    /** Binary lintel.route.v1.RecordFrame with exactly this record. */
    record: 'bytes',
  },
  key: ['received_at', 'frame_key', 'record_index'],
  indexes: [['request_id hash'], ['model', 'received_at'], ['tenant_id', 'received_at']],
  partitionByDay: 'received_at',
};

function frameKeyOf(gatewayId: string, bootId: string, frameSeq: number): number {
  return createHash('sha256').update(`${gatewayId} ${bootId} ${frameSeq}`).digest().readUIntBE(0, 6);
}

/** 0 says "not reached" in the record. */
const reached = (ms: number | null): number | null => (ms !== null && ms > 0 ? ms : null);

function requestRow(frame: FrameFacts, frameKey: number, index: number, stored: StoredFrame): Row {
  const facts = frame.records[index] as RecordFacts;
  return {
    request_id: facts.requestId,
    received_at: receivedAtMsOf(facts.receivedAtMs, stored.storedAtMs),
    gateway_id: frame.gatewayId,
    boot_id: frame.bootId,
    frame_seq: frame.frameSeq,
    frame_key: frameKey,
    record_index: index,
    stream_seq: stored.seq,
    tenant_id: facts.tenantId,
    key_id: facts.keyId,
    end_user: facts.endUser,
    model: facts.model,
    adapter: facts.adapter,
    endpoint: facts.endpoint,
    stream: facts.stream,
    profile: facts.profile,
    strategy: facts.strategy,
    policy_id: facts.policyId,
    policy_version: facts.policyVersion,
    replica_id: facts.replicaId,
    outcome: enumText(route.OutcomeSchema, facts.outcome),
    http_status: facts.httpStatus,
    error_code: facts.errorCode,
    attempts: facts.attempts,
    ttft_ms: reached(facts.firstByteMs),
    tpot_ms: facts.tokenGaps === 0 ? null : facts.tokenSpanMs / facts.tokenGaps,
    total_ms: reached(facts.totalMs),
    prompt_tokens: facts.promptTokens,
    completion_tokens: facts.completionTokens,
    cached_tokens: facts.cachedTokens,
    cost_nano: isPriced(facts) ? facts.costNano : null,
    currency: facts.currency,
    traceparent: facts.traceparent,
    record: facts.record,
  };
}

class RequestsFold implements Fold<StoredFrame> {
  readonly #cursors: FrameCursors;
  #seq: number;

  constructor(state: StateRows, seq: number) {
    this.#seq = seq;
    this.#cursors = new FrameCursors(state.get(cursorTable.name) ?? []);
  }

  apply(items: readonly StoredFrame[], changes: Changes): void {
    for (const stored of items) {
      if (stored.seq > this.#seq + 1) this.#expired(this.#seq + 1, stored, changes);
      this.#seq = stored.seq;
      this.#frame(stored, changes);
    }
  }

  #frame(stored: StoredFrame, changes: Changes): void {
    let frame: FrameFacts;
    try {
      frame = cutFrame(stored.bytes);
    } catch (error) {
      this.#undecodable(stored, errorText(error), changes);
      return;
    }
    const { gatewayId, bootId, frameSeq, closedAtMs } = frame;
    if (!Number.isSafeInteger(frameSeq) || frameSeq < 1) {
      this.#undecodable(stored, `frame number ${frameSeq}`, changes);
      return;
    }
    if (!isSubjectId(gatewayId) || bootId.length > bootIdLengthMax) {
      this.#undecodable(stored, 'the frame does not name its gateway and boot', changes);
      return;
    }
    const mark = { gatewayId, bootId, frameSeq, streamSeq: stored.seq, noticedAtMs: stored.storedAtMs };
    // A frame seen before is written again all the same: its rows are the same rows.
    if (!this.#cursors.see(mark, changes)) changes.count('duplicates');
    const frameKey = frameKeyOf(gatewayId, bootId, frameSeq);
    for (let index = 0; index < frame.records.length; index++) {
      changes.put(requestTable, requestRow(frame, frameKey, index, stored));
    }
    if (frame.dropped > 0) {
      changes.put(gapTable, {
        kind: 'dropped',
        gateway_id: gatewayId,
        boot_id: bootId,
        first_frame_seq: frameSeq,
        last_frame_seq: frameSeq,
        records: frame.dropped,
        stream_seq: stored.seq,
        noticed_at: closedAtMs,
        note: 'the gateway had no room for these records',
      });
    }
  }

  /** The stream keeps frames for days only: what it dropped before we came is a hole that stays. */
  #expired(firstSeq: number, next: StoredFrame, changes: Changes): void {
    changes.put(gapTable, {
      kind: 'expired',
      gateway_id: '',
      boot_id: '',
      first_frame_seq: firstSeq,
      last_frame_seq: next.seq - 1,
      records: null,
      stream_seq: next.seq,
      noticed_at: next.storedAtMs,
      note: 'stream sequences that were dropped from the stream before they were projected',
    });
  }

  /** One gateway's broken frame must not keep all others' requests from being seen: the hole is recorded instead. */
  #undecodable(stored: StoredFrame, note: string, changes: Changes): void {
    changes.count('undecodable');
    changes.put(gapTable, {
      kind: 'undecodable',
      gateway_id: stored.subject,
      boot_id: stored.msgId,
      first_frame_seq: stored.seq,
      last_frame_seq: stored.seq,
      records: null,
      stream_seq: stored.seq,
      noticed_at: stored.storedAtMs,
      note,
    });
  }
}

/** One row per request, with the whole decision record in it. */
export const requests: Projection<StoredFrame> = {
  name: 'requests',
  version: 3,
  source: 'frames',
  tables: [requestTable, gapTable, cursorTable],
  begin: (state, seq) => new RequestsFold(state, seq),
};
