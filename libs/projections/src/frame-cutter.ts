import { isUtf8 } from 'node:buffer';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { frameLists, next, pickLists, place, recordLists, unusual, Wire } from './frame-wire.ts';
import type { FrameFacts, RecordFacts } from './record-facts.ts';
import { decodeFrame, hasAnswered } from './record-facts.ts';

/** Highest field of the texts of a DecisionRecord, which are remembered. */
const fieldMax = 100;
/** Indexes beyond it would need more than two bytes, and more room than is set aside. */
const indexMax = 0x3fff;

interface Span {
  readonly start: number;
  readonly end: number;
}

interface PipelineFacts extends Span {
  strategy: string;
  policyId: string;
  policyVersion: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Cuts a frame into its records, each as a frame of its own with only the dictionary entries that it names, and reads from each what
 * its row says. Copies bytes instead of making objects of all that stands in a record: five times as fast as the generated code, which is
 * asked for everything that is not in the usual form.
 */
class FrameCutter {
  readonly #in: Buffer;
  readonly #view: DataView;
  readonly #out: Buffer;
  #at = 0;
  #to = 0;
  /** For each field of a record the text that stood there last: most stand in every record of a frame. */
  readonly #texts: { start: number; end: number; text: string }[] = [];
  readonly #replicas: Span[] = [];
  readonly #replicaIds: string[] = [];
  readonly #pipelines: PipelineFacts[] = [];
  /** Place in the record's own dictionary + 1, by place in the frame's; cleared for each record. */
  #replicaPlaces: Uint16Array = new Uint16Array();
  #pipelinePlaces: Uint16Array = new Uint16Array();
  #replicasUsed: number[] = [];
  #pipelinesUsed: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#in = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // Only indexes can grow, from one byte to two, or from none where they were 0.
    this.#out = Buffer.allocUnsafe(2 * bytes.byteLength + 256);
    for (let field = 0; field <= fieldMax; field++) this.#texts.push({ start: 0, end: 0, text: '' });
  }

  cut(): FrameFacts {
    const frame = { gatewayId: '', bootId: '', frameSeq: 0, closedAtMs: 0, dropped: 0 };
    const spans: Span[] = [];
    const { length } = this.#in;
    let headEnd = 0;
    let before = 0;
    while (this.#at < length) {
      const start = this.#at;
      const tag = this.#varint();
      before = next(before, tag >> 3, frameLists);
      switch (tag) {
        case (1 << 3) | Wire.Bytes:
          frame.gatewayId = this.#text(1);
          break;
        case (2 << 3) | Wire.Bytes:
          frame.bootId = this.#text(2);
          break;
        case (3 << 3) | Wire.Fixed64:
          frame.frameSeq = this.#double();
          break;
        case (4 << 3) | Wire.Fixed64:
          frame.closedAtMs = this.#double();
          break;
        case (5 << 3) | Wire.Bytes:
          spans.push(this.#span(length));
          break;
        case (6 << 3) | Wire.Bytes: {
          const { start: from, end } = this.#span(length);
          this.#replicaIds.push(this.#decode(from, end));
          this.#replicas.push({ start, end });
          break;
        }
        case (7 << 3) | Wire.Bytes:
          this.#pipelines.push(this.#pipeline(start, length));
          break;
        case (8 << 3) | Wire.Varint:
          frame.dropped = this.#varint();
          break;
        default:
          throw unusual;
      }
      if (before < 5) headEnd = this.#at;
    }
    if (this.#replicas.length > indexMax || this.#pipelines.length > indexMax) throw unusual;
    this.#replicaPlaces = new Uint16Array(this.#replicas.length);
    this.#pipelinePlaces = new Uint16Array(this.#pipelines.length);
    // The head is the same in each record's own frame.
    this.#in.copy(this.#out, 0, 0, headEnd);
    return { ...frame, records: spans.map((span) => this.#record(span, headEnd)) };
  }

  #pipeline(start: number, limit: number): PipelineFacts {
    const { start: from, end } = this.#span(limit);
    const facts: PipelineFacts = { start, end, strategy: '', policyId: '', policyVersion: 0 };
    this.#at = from;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((3 << 3) | Wire.Bytes)) facts.strategy = this.#textUncached(end);
      else if (tag === ((4 << 3) | Wire.Bytes)) facts.policyId = this.#textUncached(end);
      else if (tag === ((5 << 3) | Wire.Varint)) facts.policyVersion = this.#varint();
      // The other texts are copied unread; they must be texts all the same.
      else if (tag === ((1 << 3) | Wire.Bytes) || tag === ((2 << 3) | Wire.Bytes)) this.#textUncached(end);
      else if (tag === ((6 << 3) | Wire.Fixed64)) this.#at += 8;
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
    return facts;
  }

  #record({ start, end }: Span, headEnd: number): RecordFacts {
    this.#replicaPlaces.fill(0);
    this.#pipelinePlaces.fill(0);
    this.#replicasUsed = [];
    this.#pipelinesUsed = [];
    this.#to = headEnd;
    const facts: Mutable<RecordFacts> = {
      requestId: '',
      receivedAtMs: 0,
      tenantId: '',
      keyId: '',
      endUser: '',
      endpoint: '',
      model: '',
      adapter: '',
      stream: false,
      profile: '',
      projectId: '',
      userId: '',
      strategy: null,
      policyId: null,
      policyVersion: null,
      replicaId: null,
      outcome: 0,
      httpStatus: 0,
      errorCode: '',
      attempts: 0,
      firstByteMs: null,
      totalMs: null,
      tokenSpanMs: 0,
      tokenGaps: 0,
      promptTokens: null,
      completionTokens: null,
      cachedTokens: null,
      traceparent: '',
      costNano: 0,
      priceSeq: 0,
      currency: '',
      record: this.#out,
    };
    const opened = this.#open((5 << 3) | Wire.Bytes);
    this.#at = start;
    let before = 0;
    while (this.#at < end) {
      const from = this.#at;
      const tag = this.#varint();
      before = next(before, tag >> 3, recordLists);
      if (tag === ((11 << 3) | Wire.Bytes)) {
        this.#pick(this.#span(end), facts);
        continue;
      }
      if (tag === ((12 << 3) | Wire.Bytes)) {
        this.#attempt(this.#span(end), facts);
        continue;
      }
      this.#field(tag, end, facts);
      this.#copy(from, this.#at);
    }
    if (this.#at !== end) throw unusual;
    this.#close(opened);
    for (const index of this.#replicasUsed) this.#copySpan(this.#replicas[index] as Span);
    for (const index of this.#pipelinesUsed) this.#copySpan(this.#pipelines[index] as Span);
    // What was written past the end is not there, and nothing said so.
    if (this.#to > this.#out.length) throw unusual;
    facts.record = Buffer.from(this.#out.subarray(0, this.#to));
    return facts;
  }

  #field(tag: number, end: number, facts: Mutable<RecordFacts>): void {
    switch (tag) {
      case (1 << 3) | Wire.Bytes:
        facts.requestId = this.#textUncached(end);
        return;
      case (2 << 3) | Wire.Fixed64:
        facts.receivedAtMs = this.#double();
        return;
      case (3 << 3) | Wire.Bytes:
        facts.tenantId = this.#text(3);
        return;
      case (4 << 3) | Wire.Bytes:
        facts.keyId = this.#text(4);
        return;
      case (5 << 3) | Wire.Bytes:
        facts.endUser = this.#text(5);
        return;
      case (6 << 3) | Wire.Bytes:
        facts.endpoint = this.#text(6);
        return;
      case (7 << 3) | Wire.Bytes:
        facts.model = this.#text(7);
        return;
      case (8 << 3) | Wire.Bytes:
        facts.adapter = this.#text(8);
        return;
      case (9 << 3) | Wire.Varint:
        facts.stream = this.#varint() !== 0;
        return;
      case (10 << 3) | Wire.Bytes:
        this.#features(this.#span(end));
        return;
      case (13 << 3) | Wire.Varint:
        facts.outcome = this.#varint();
        return;
      case (14 << 3) | Wire.Varint:
        facts.httpStatus = this.#varint();
        return;
      case (15 << 3) | Wire.Bytes:
        facts.errorCode = this.#text(15);
        return;
      case (16 << 3) | Wire.Bytes:
        this.#timings(this.#span(end), facts);
        return;
      case (17 << 3) | Wire.Bytes:
        this.#usage(this.#span(end), facts);
        return;
      case (18 << 3) | Wire.Bytes:
        facts.traceparent = this.#textUncached(end);
        return;
      case (19 << 3) | Wire.Bytes:
        this.#head(this.#span(end));
        return;
      case (20 << 3) | Wire.Bytes:
        this.#text(20);
        return;
      case (21 << 3) | Wire.Bytes:
        facts.profile = this.#text(21);
        return;
      case (40 << 3) | Wire.Bytes:
        this.#modelChoice(this.#span(end));
        return;
      case (45 << 3) | Wire.Bytes:
        this.#handover(this.#span(end));
        return;
      case (50 << 3) | Wire.Fixed64:
        facts.costNano = this.#double();
        return;
      case (51 << 3) | Wire.Fixed64:
        facts.priceSeq = this.#double();
        return;
      case (52 << 3) | Wire.Bytes:
        facts.currency = this.#text(52);
        return;
      case (65 << 3) | Wire.Bytes:
        facts.projectId = this.#text(65);
        return;
      case (90 << 3) | Wire.Bytes:
        this.#text(90);
        return;
      case (66 << 3) | Wire.Bytes:
        facts.userId = this.#text(66);
        return;
      case (85 << 3) | Wire.Bytes:
        this.#numbers(this.#span(end), 2, 5);
        return;
      case (100 << 3) | Wire.Bytes:
      case (101 << 3) | Wire.Bytes:
        this.#numbers(this.#span(end), 4, 5);
        return;
      default:
        throw unusual;
    }
  }

  /** Few records have one: it is copied where its bytes are as everybody would write them. */
  #modelChoice({ start, end }: Span): void {
    const given = this.#in.subarray(start, end);
    let usual: Uint8Array;
    try {
      usual = toBinary(route.ModelChoiceSchema, fromBinary(route.ModelChoiceSchema, given));
    } catch {
      throw unusual;
    }
    if (!given.equals(usual)) throw unusual;
    this.#at = end;
  }

  #features({ start, end }: Span): void {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((5 << 3) | Wire.Fixed32)) this.#at += 4;
      else if ((tag & 7) === Wire.Varint && tag >> 3 >= 1 && tag >> 3 <= 8) this.#varint();
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
  }

  /** A message that no row reads: doubles up to one field, counts up to another. */
  #numbers({ start, end }: Span, doubleMax: number, countMax: number): void {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      const field = tag >> 3;
      if ((tag & 7) === Wire.Fixed64 && field >= 1 && field <= doubleMax) this.#at += 8;
      else if ((tag & 7) === Wire.Varint && field > doubleMax && field <= countMax) this.#varint();
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
  }

  #handover({ start, end }: Span): void {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((1 << 3) | Wire.Bytes)) this.#textUncached(end);
      else if (tag === ((2 << 3) | Wire.Fixed64) || tag === ((3 << 3) | Wire.Fixed64)) this.#at += 8;
      else if (tag === ((4 << 3) | Wire.Varint)) this.#varint();
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
  }

  #pick({ start, end }: Span, facts: Mutable<RecordFacts>): void {
    const opened = this.#open((11 << 3) | Wire.Bytes);
    this.#at = start;
    let pipeline = 0;
    if (this.#in[start] === ((1 << 3) | Wire.Varint) && start < end) {
      this.#at++;
      pipeline = this.#varint();
    }
    const own = place(this.#pipelinePlaces, this.#pipelinesUsed, pipeline);
    if (own !== 0) {
      this.#put((1 << 3) | Wire.Varint);
      this.#put(own);
    }
    ({
      strategy: facts.strategy,
      policyId: facts.policyId,
      policyVersion: facts.policyVersion,
    } = this.#pipelines[pipeline] as PipelineFacts);
    let before = 1;
    while (this.#at < end) {
      const from = this.#at;
      const tag = this.#varint();
      before = next(before, tag >> 3, pickLists);
      if (tag === ((3 << 3) | Wire.Bytes)) {
        const { start: first, end: last } = this.#span(end);
        const list = this.#open(tag);
        this.#at = first;
        while (this.#at < last) this.#put(place(this.#replicaPlaces, this.#replicasUsed, this.#varint()));
        if (this.#at !== last) throw unusual;
        this.#close(list);
        continue;
      }
      if (tag === ((2 << 3) | Wire.Fixed32)) this.#at += 4;
      else if (tag === ((10 << 3) | Wire.Varint) || tag === ((45 << 3) | Wire.Varint)) this.#varint();
      else if (tag === ((70 << 3) | Wire.Varint) || tag === ((71 << 3) | Wire.Varint)) this.#varint();
      else if (tag === ((72 << 3) | Wire.Bytes)) this.#textUncached(end);
      else if (tag === ((4 << 3) | Wire.Bytes) || tag === ((11 << 3) | Wire.Bytes)) this.#textUncached(end);
      else if (before >= 5 && before <= 9 && (tag & 7) === Wire.Bytes) this.#packed(before, this.#span(end));
      else throw unusual;
      this.#copy(from, this.#at);
    }
    if (this.#at !== end) throw unusual;
    this.#close(opened);
  }

  /** Packed numbers are copied unread, once it is sure that they are whole. */
  #packed(field: number, { start, end }: Span): void {
    if (field === 7) {
      this.#at = start;
      while (this.#at < end) this.#varint();
      if (this.#at !== end) throw unusual;
    } else if ((end - start) % (field === 6 ? 4 : 8) !== 0) throw unusual;
  }

  #attempt({ start, end }: Span, facts: Mutable<RecordFacts>): void {
    const opened = this.#open((12 << 3) | Wire.Bytes);
    this.#at = start;
    let replica = 0;
    if (this.#in[start] === ((1 << 3) | Wire.Varint) && start < end) {
      this.#at++;
      replica = this.#varint();
    }
    const own = place(this.#replicaPlaces, this.#replicasUsed, replica);
    if (own !== 0) {
      this.#put((1 << 3) | Wire.Varint);
      this.#put(own);
    }
    const rest = this.#at;
    let how = 0;
    let firstByteMs = 0;
    let role = 0;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((4 << 3) | Wire.Fixed64)) firstByteMs = this.#double();
      else if (tag === ((6 << 3) | Wire.Varint)) how = this.#varint();
      else if (tag === ((45 << 3) | Wire.Varint)) role = this.#varint();
      else if (tag === ((3 << 3) | Wire.Fixed64) || tag === ((5 << 3) | Wire.Fixed64)) this.#at += 8;
      else if (tag === ((2 << 3) | Wire.Varint) || tag === ((7 << 3) | Wire.Varint)) this.#varint();
      else if (tag >= 55 << 3 && tag <= 57 << 3 && (tag & 7) === Wire.Varint) this.#varint();
      else if (tag === ((8 << 3) | Wire.Bytes) || tag === ((85 << 3) | Wire.Bytes)) this.#textUncached(end);
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
    this.#copy(rest, end);
    this.#close(opened);
    facts.attempts++;
    if (hasAnswered(how, firstByteMs, role)) facts.replicaId = this.#replicaIds[replica] as string;
  }

  #timings({ start, end }: Span, facts: Mutable<RecordFacts>): void {
    facts.firstByteMs = 0;
    facts.totalMs = 0;
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((7 << 3) | Wire.Varint)) facts.tokenGaps = this.#varint();
      else if ((tag & 7) === Wire.Fixed64 && tag >> 3 >= 1 && tag >> 3 <= 9) {
        const value = this.#double();
        if (tag >> 3 === 3) facts.firstByteMs = value;
        else if (tag >> 3 === 4) facts.totalMs = value;
        else if (tag >> 3 === 6) facts.tokenSpanMs = value;
      } else throw unusual;
    }
    if (this.#at !== end) throw unusual;
  }

  #usage({ start, end }: Span, facts: Mutable<RecordFacts>): void {
    facts.promptTokens = 0;
    facts.completionTokens = 0;
    let cachedTokens = 0;
    let fromEngine = 0;
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((1 << 3) | Wire.Varint)) facts.promptTokens = this.#varint();
      else if (tag === ((2 << 3) | Wire.Varint)) facts.completionTokens = this.#varint();
      else if (tag === ((3 << 3) | Wire.Varint)) cachedTokens = this.#varint();
      else if (tag === ((4 << 3) | Wire.Varint)) fromEngine = this.#varint();
      else throw unusual;
    }
    if (this.#at !== end) throw unusual;
    facts.cachedTokens = fromEngine === 0 ? null : cachedTokens;
  }

  #head({ start, end }: Span): void {
    this.#at = start;
    if (this.#varint() !== ((1 << 3) | Wire.Bytes)) throw unusual;
    this.#textUncached(end);
    if (this.#varint() !== ((2 << 3) | Wire.Fixed64)) throw unusual;
    this.#at += 8;
    if (this.#at !== end) throw unusual;
  }

  /** Up to 31 bits, in the shortest form. */
  #varint(): number {
    let byte = this.#in[this.#at++] as number;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; shift <= 28; shift += 7) {
      byte = this.#in[this.#at++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte >= 0x80) continue;
      // Not `> 0x7f…`: past the end of the bytes it is undefined, and no comparison holds.
      if (byte > 0 && value <= 0x7fff_ffff) return value;
      break;
    }
    throw unusual;
  }

  #double(): number {
    if (this.#at + 8 > this.#in.length) throw unusual;
    const value = this.#view.getFloat64(this.#at, true);
    this.#at += 8;
    return value;
  }

  /** Of a field with a length; stands behind it afterwards. */
  #span(limit: number): Span {
    const length = this.#varint();
    const start = this.#at;
    const end = start + length;
    if (end > limit) throw unusual;
    this.#at = end;
    return { start, end };
  }

  #text(field: number): string {
    const { start, end } = this.#span(this.#in.length);
    const memory = this.#texts[field] as { start: number; end: number; text: string };
    if (end - start === memory.end - memory.start && this.#same(start, memory.start, end - start)) return memory.text;
    memory.text = this.#decode(start, end);
    memory.start = start;
    memory.end = end;
    return memory.text;
  }

  #same(left: number, right: number, length: number): boolean {
    for (let index = 0; index < length; index++) {
      if (this.#in[left + index] !== this.#in[right + index]) return false;
    }
    return true;
  }

  #textUncached(limit: number): string {
    const { start, end } = this.#span(limit);
    return this.#decode(start, end);
  }

  #decode(start: number, end: number): string {
    for (let index = start; index < end; index++) {
      if ((this.#in[index] as number) < 0x80) continue;
      if (!isUtf8(this.#in.subarray(start, end))) throw unusual;
      return this.#in.toString('utf8', start, end);
    }
    return this.#in.toString('latin1', start, end);
  }

  #put(value: number): void {
    if (value >= 0x80) this.#out[this.#to++] = (value & 0x7f) | 0x80;
    this.#out[this.#to++] = value < 0x80 ? value : value >> 7;
  }

  #copy(start: number, end: number): void {
    if (end - start < 24)
      for (let index = start; index < end; index++) this.#out[this.#to++] = this.#in[index] as number;
    else this.#to += this.#in.copy(this.#out, this.#to, start, end);
  }

  #copySpan({ start, end }: Span): void {
    this.#copy(start, end);
  }

  /** Begins a field with a length of one byte; `close` makes room where it needs more. */
  #open(tag: number): number {
    this.#put(tag);
    return ++this.#to;
  }

  #close(start: number): void {
    const length = this.#to - start;
    let more = 0;
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 128)) more++;
    if (more > 0) this.#out.copyWithin(start + more, start, this.#to);
    let rest = length;
    for (let at = start - 1; ; at++) {
      this.#out[at] = rest < 0x80 ? rest : (rest & 0x7f) | 0x80;
      if (rest < 0x80) break;
      rest = Math.floor(rest / 128);
    }
    this.#to += more;
  }
}

/**
 * What stands in a frame, each record with a frame of its own.
 * @throws what protobuf throws for bytes that are no RecordFrame
 */
export function cutFrame(bytes: Uint8Array): FrameFacts {
  return usualFrame(bytes) ?? decodeFrame(bytes);
}

/** Undefined for a frame that is not in the usual form. */
export function usualFrame(bytes: Uint8Array): FrameFacts | undefined {
  try {
    return new FrameCutter(bytes).cut();
  } catch (error) {
    if (error === unusual) return undefined;
    throw error;
  }
}
