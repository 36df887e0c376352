import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { route } from '#libs/contracts';
import { hasAnswered } from './record-facts.ts';

/** What the ledger reads of a record. */
export interface UsageFacts {
  receivedAtMs: number;
  tenantId: string;
  projectId: string;
  userId: string;
  keyId: string;
  endUser: string;
  model: string;
  outcome: number;
  /** A replica's answer reached the client, in part at least. */
  answered: boolean;
  /** The tokens were counted. */
  counted: boolean;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  costNano: number;
  priceSeq: number;
  currency: string;
}

/** The cost is known: a price was in force, and the sum is one that can be. */
export const isPriced = ({ priceSeq, costNano }: Pick<UsageFacts, 'priceSeq' | 'costNano'>): boolean =>
  priceSeq > 0 && Number.isSafeInteger(costNano) && costNano >= 0;

export interface UsageFrame {
  gatewayId: string;
  bootId: string;
  frameSeq: number;
  readonly records: UsageFacts[];
}

/** Reads no more of a frame than the ledger needs: picks, the bulk of it, are stepped over. @throws for what is no RecordFrame */
export function usageFrame(bytes: Uint8Array): UsageFrame {
  const reader = new BinaryReader(bytes);
  const frame: UsageFrame = { gatewayId: '', bootId: '', frameSeq: 0, records: [] };
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === WireType.LengthDelimited) frame.gatewayId = reader.string();
    else if (field === 2 && wire === WireType.LengthDelimited) frame.bootId = reader.string();
    else if (field === 3 && wire === WireType.Bit64) frame.frameSeq = reader.double();
    else if (field === 5 && wire === WireType.LengthDelimited) frame.records.push(recordFacts(reader));
    else reader.skip(wire, field);
  }
  return frame;
}

const noFacts: UsageFacts = {
  receivedAtMs: 0,
  tenantId: '',
  projectId: '',
  userId: '',
  keyId: '',
  endUser: '',
  model: '',
  outcome: 0,
  answered: false,
  counted: false,
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  costNano: 0,
  priceSeq: 0,
  currency: '',
};

function recordFacts(reader: BinaryReader): UsageFacts {
  const facts = { ...noFacts };
  const end = reader.uint32() + reader.pos;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (wire === WireType.LengthDelimited) recordPart(reader, field, facts);
    else if (field === 2 && wire === WireType.Bit64) facts.receivedAtMs = reader.double();
    else if (field === 13 && wire === WireType.Varint) facts.outcome = reader.int32();
    else if (field === 50 && wire === WireType.Bit64) facts.costNano = reader.double();
    else if (field === 51 && wire === WireType.Bit64) facts.priceSeq = reader.double();
    else reader.skip(wire, field);
  }
  return facts;
}

function recordPart(reader: BinaryReader, field: number, facts: UsageFacts): void {
  switch (field) {
    case 3:
      facts.tenantId = reader.string();
      return;
    case 4:
      facts.keyId = reader.string();
      return;
    case 5:
      facts.endUser = reader.string();
      return;
    case 7:
      facts.model = reader.string();
      return;
    case 12:
      attempt(reader, facts);
      return;
    case 17:
      usage(reader, facts);
      return;
    case 52:
      facts.currency = reader.string();
      return;
    case 65:
      facts.projectId = reader.string();
      return;
    case 66:
      facts.userId = reader.string();
      return;
    default:
      reader.skip(WireType.LengthDelimited, field);
  }
}

function attempt(reader: BinaryReader, facts: UsageFacts): void {
  const end = reader.uint32() + reader.pos;
  let how: number = route.AttemptEnd.UNSPECIFIED;
  let firstByteMs = 0;
  let role: number = route.ReplicaRole.COMBINED;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 4 && wire === WireType.Bit64) firstByteMs = reader.double();
    else if (field === 6 && wire === WireType.Varint) how = reader.int32();
    else if (field === 45 && wire === WireType.Varint) role = reader.int32();
    else reader.skip(wire, field);
  }
  if (hasAnswered(how, firstByteMs, role)) facts.answered = true;
}

function usage(reader: BinaryReader, facts: UsageFacts): void {
  const end = reader.uint32() + reader.pos;
  facts.counted = true;
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === WireType.Varint) facts.promptTokens = reader.uint32();
    else if (field === 2 && wire === WireType.Varint) facts.completionTokens = reader.uint32();
    else if (field === 3 && wire === WireType.Varint) facts.cachedTokens = reader.uint32();
    else reader.skip(wire, field);
  }
}
