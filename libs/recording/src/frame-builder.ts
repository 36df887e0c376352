import { toBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { recordingLimits } from './limits.ts';
import type { CapturedPick, PipelineRef, RecordedAttempt, RecordedForecast, RecordInput } from './record-input.ts';
import { WireWriter } from './wire-writer.ts';

export interface FrameHead {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly frameSeq: number;
  readonly closedAtMs: number;
  readonly dropped: number;
}

const { textLengthMax, frameBytesMax, recordBytesMax } = recordingLimits;

/** Bytes that one text can take: three for each UTF-16 unit, tag and length. */
const textBytes = (text: string): number => 3 * (text.length < textLengthMax ? text.length : textLengthMax) + 8;

/** Without the names of its columns. */
function pickBytesMax({ replicaIds, values, scores, notes }: CapturedPick): number {
  let bytes = 64 + replicaIds.length * 24 + values.length * 12 + scores.length * 8;
  for (const text of notes) bytes += textBytes(text);
  return bytes;
}

/** No encoding of the record is longer, but for the names of columns. */
function bytesMaxOf(record: RecordInput): number {
  let bytes = 832 + textBytes(record.requestId) + textBytes(record.tenantId) + textBytes(record.keyId);
  bytes += textBytes(record.endUser) + textBytes(record.endpoint) + textBytes(record.model) + textBytes(record.adapter);
  bytes += textBytes(record.errorCode) + textBytes(record.errorMessage) + textBytes(record.traceparent);
  bytes += textBytes(record.clientAddress ?? '');
  bytes += textBytes(record.profile) + textBytes(record.projectId ?? '') + textBytes(record.userId ?? '');
  for (const pick of record.picks) bytes += pickBytesMax(pick);
  for (const { error, sentAs } of record.attempts) bytes += 96 + textBytes(error) + textBytes(sentAs ?? '');
  for (const name in record.heads) bytes += 24 + textBytes(name);
  return bytes;
}

/** Encodes records into one lintel.route.v1.RecordFrame. Its buffers live as long as it does; `finish` starts the next frame. */
export class FrameBuilder {
  readonly #records = new WireWriter(frameBytesMax + recordBytesMax);
  readonly #replicas = new Map<string, number>();
  readonly #pipelines = new Map<PipelineRef, number>();
  readonly #columns = new WeakMap<readonly string[], Uint8Array>();
  // Most picks are of one pipeline.
  #columnsBefore: readonly string[] | undefined;
  #columnsEncoded: Uint8Array = new Uint8Array(0);
  #pipelineBefore: PipelineRef | undefined;
  #pipelineIndex = 0;
  #dictionaryBytes = 0;
  count = 0;

  /** Records encoded so far leave no room for another of usual size. */
  get full(): boolean {
    return (
      this.count >= recordingLimits.recordsPerFrameMax ||
      this.#records.position + this.#dictionaryBytes >= frameBytesMax
    );
  }

  /** False for a record over recordBytesMax, of which nothing is written. The caller does not add to a full frame. */
  add(record: RecordInput): boolean {
    const { modelChoice } = record;
    const choice = modelChoice === undefined ? undefined : toBinary(route.ModelChoiceSchema, modelChoice);
    let bytesMax = bytesMaxOf(record) + (choice?.length ?? 0);
    for (const { columns } of record.picks) bytesMax += this.#columnsOf(columns).length;
    if (bytesMax > recordBytesMax) return false;
    const out = this.#records;
    const start = out.begin(5);
    out.text(1, record.requestId);
    out.double(2, record.receivedAtMs);
    out.text(3, record.tenantId);
    out.text(4, record.keyId);
    out.text(5, record.endUser);
    out.text(6, record.endpoint);
    out.text(7, record.model);
    out.text(8, record.adapter);
    out.flag(9, record.stream);
    this.#features(record);
    for (const pick of record.picks) this.#pick(pick);
    for (const attempt of record.attempts) this.#attempt(attempt);
    out.uint(13, record.outcome);
    out.uint(14, record.httpStatus);
    out.text(15, record.errorCode);
    this.#timings(record);
    this.#usage(record);
    out.text(18, record.traceparent);
    for (const name in record.heads) {
      const entry = out.begin(19);
      out.textAlways(1, name);
      out.doubleAlways(2, record.heads[name] as number);
      out.end(entry);
    }
    out.text(20, record.errorMessage);
    out.text(21, record.profile);
    if (choice !== undefined) out.message(40, choice);
    this.#handover(record);
    this.#cost(record);
    out.text(65, record.projectId ?? '');
    out.text(66, record.userId ?? '');
    this.#tunnel(record);
    out.text(90, record.clientAddress ?? '');
    if (record.ttft !== undefined) this.#forecast(100, record.ttft);
    if (record.finish !== undefined) this.#forecast(101, record.finish);
    out.end(start);
    this.count++;
    return true;
  }

  /** The frame's bytes. */
  finish({ gatewayId, bootId, frameSeq, closedAtMs, dropped }: FrameHead): Buffer {
    const head = new WireWriter(256);
    head.text(1, gatewayId);
    head.text(2, bootId);
    head.double(3, frameSeq);
    head.double(4, closedAtMs);
    const tail = new WireWriter(64 + this.#dictionaryBytes);
    for (const id of this.#replicas.keys()) tail.textAlways(6, id);
    for (const pipeline of this.#pipelines.keys()) {
      const start = tail.begin(7);
      tail.text(1, pipeline.hash);
      tail.wholeText(2, pipeline.json);
      tail.text(3, pipeline.strategy);
      tail.text(4, pipeline.policyId);
      tail.uint(5, pipeline.policyVersion);
      tail.double(6, pipeline.policySeq);
      tail.end(start);
    }
    tail.uint(8, dropped);
    const bytes = Buffer.concat([head.written(), this.#records.written(), tail.written()]);
    this.#records.position = 0;
    this.#replicas.clear();
    this.#pipelines.clear();
    this.#pipelineBefore = undefined;
    this.#dictionaryBytes = 0;
    this.count = 0;
    return bytes;
  }

  #replica(id: string): number {
    let index = this.#replicas.get(id);
    if (index === undefined) {
      index = this.#replicas.size;
      this.#replicas.set(id, index);
      this.#dictionaryBytes += textBytes(id);
    }
    return index;
  }

  #pipeline(pipeline: PipelineRef): number {
    if (pipeline === this.#pipelineBefore) return this.#pipelineIndex;
    let index = this.#pipelines.get(pipeline);
    if (index === undefined) {
      index = this.#pipelines.size;
      this.#pipelines.set(pipeline, index);
      this.#dictionaryBytes +=
        3 * pipeline.json.length + 512 + textBytes(pipeline.strategy) + textBytes(pipeline.policyId);
    }
    this.#pipelineBefore = pipeline;
    return (this.#pipelineIndex = index);
  }

  /** The names of columns, encoded once for each pipeline. */
  #columnsOf(columns: readonly string[]): Uint8Array {
    if (columns === this.#columnsBefore) return this.#columnsEncoded;
    let encoded = this.#columns.get(columns);
    if (encoded === undefined) {
      let bytes = 0;
      for (const column of columns) bytes += textBytes(column);
      const writer = new WireWriter(bytes);
      for (const column of columns) writer.textAlways(4, column);
      this.#columns.set(columns, (encoded = writer.take()));
    }
    this.#columnsBefore = columns;
    this.#columnsEncoded = encoded;
    return encoded;
  }

  #features({ features }: RecordInput): void {
    if (features === undefined) return;
    const out = this.#records;
    const start = out.begin(10);
    out.uint(1, features.bodyBytes);
    out.uint(2, features.promptTokens);
    out.flag(3, features.promptTokensExact);
    out.uint(4, features.maxTokens);
    out.fixed32(5, features.sessionHash);
    out.uint(6, features.prefixBlocks);
    out.uint(7, features.sloTtftMs);
    out.uint(8, features.sloTpotMs);
    out.end(start);
  }

  #pick(pick: CapturedPick): void {
    const out = this.#records;
    const start = out.begin(11);
    out.uint(1, this.#pipeline(pick.pipeline));
    out.fixed32(2, pick.seed);
    if (pick.replicaIds.length > 0) {
      const list = out.begin(3);
      for (const id of pick.replicaIds) out.varint(this.#replica(id));
      out.end(list);
    }
    out.raw(this.#columnsOf(pick.columns));
    out.doubles(5, pick.values);
    out.floats(6, pick.agesMs);
    out.uints(7, pick.filteredBy);
    out.doubles(8, pick.scores);
    out.doubles(9, pick.totals);
    out.uint(10, pick.chosen + 1);
    for (const note of pick.notes) out.textAlways(11, note);
    if (pick.partner !== undefined) out.uint(45, pick.partner + 1);
    if (pick.prefix !== undefined) {
      out.uint(70, pick.prefix.source);
      out.uint(71, pick.prefix.blockTokens);
      out.text(72, pick.prefix.degraded);
    }
    out.end(start);
  }

  #attempt(attempt: RecordedAttempt): void {
    const out = this.#records;
    const start = out.begin(12);
    out.uint(1, this.#replica(attempt.replicaId));
    out.uint(2, attempt.pick);
    out.double(3, attempt.startMs);
    out.double(4, attempt.firstByteMs);
    out.double(5, attempt.endMs);
    out.uint(6, attempt.end);
    out.uint(7, attempt.httpStatus);
    out.text(8, attempt.error);
    if (attempt.role !== undefined) out.uint(45, attempt.role);
    if (attempt.hedge === true) out.flag(55, true);
    if (attempt.continuedTokens !== undefined) {
      out.flag(56, true);
      out.uint(57, attempt.continuedTokens);
    }
    if (attempt.sentAs !== undefined) out.text(85, attempt.sentAs);
    out.end(start);
  }

  #tunnel({ tunnel }: RecordInput): void {
    if (tunnel === undefined) return;
    const out = this.#records;
    const start = out.begin(85);
    out.double(1, tunnel.bytesUp);
    out.double(2, tunnel.bytesDown);
    out.uint(3, tunnel.messagesUp);
    out.uint(4, tunnel.messagesDown);
    out.uint(5, tunnel.closeCode);
    out.end(start);
  }

  #timings({ timings }: RecordInput): void {
    if (timings === undefined) return;
    const out = this.#records;
    const start = out.begin(16);
    out.double(1, timings.bodyReadMs);
    out.double(2, timings.pickedMs);
    out.double(3, timings.firstByteMs);
    out.double(4, timings.totalMs);
    out.double(5, timings.pickUs);
    out.double(6, timings.tokenSpanMs);
    out.uint(7, timings.tokenGaps);
    out.double(8, timings.tokenGapMsMax);
    out.double(9, timings.queuedMs);
    out.end(start);
  }

  #handover({ handover }: RecordInput): void {
    if (handover === undefined) return;
    const out = this.#records;
    const start = out.begin(45);
    out.text(1, handover.connector);
    out.double(2, handover.prefillMs);
    out.double(3, handover.transferMs);
    out.uint(4, handover.tokens);
    out.end(start);
  }

  #forecast(field: number, { predictedMs, lowMs, highMs, measuredMs, decile }: RecordedForecast): void {
    const out = this.#records;
    const start = out.begin(field);
    out.double(1, predictedMs);
    if (lowMs > 0) out.double(2, lowMs);
    if (highMs > 0) out.double(3, highMs);
    if (measuredMs > 0) out.double(4, measuredMs);
    out.uint(5, decile);
    out.end(start);
  }

  #cost({ cost }: RecordInput): void {
    if (cost === undefined) return;
    const out = this.#records;
    out.double(50, cost.nano);
    out.double(51, cost.priceSeq);
    out.text(52, cost.currency);
  }

  #usage({ usage }: RecordInput): void {
    if (usage === undefined) return;
    const out = this.#records;
    const start = out.begin(17);
    out.uint(1, usage.promptTokens);
    out.uint(2, usage.completionTokens);
    out.uint(3, usage.cachedTokens);
    out.flag(4, usage.fromEngine);
    out.end(start);
  }
}
