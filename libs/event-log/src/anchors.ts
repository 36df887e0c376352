import type { KeyObject } from 'node:crypto';
import { createPublicKey, sign, verify } from 'node:crypto';
import { create, fromJsonString, toJson } from '@bufbuild/protobuf';
import { log } from '#libs/contracts';
import { CodedError, errorText } from '#libs/kernel';
import { sha256Hex } from './chain.ts';
import type { MerkleTree } from './merkle.ts';

/** What the signature covers: the ProtoJSON of the anchor without it. */
function signedBytes(anchor: log.Anchor): Buffer {
  const unsigned = { ...anchor, signature: '' };
  return Buffer.from(JSON.stringify(toJson(log.AnchorSchema, create(log.AnchorSchema, unsigned))));
}

/** How the next anchor names this one. */
export function anchorHash(anchor: log.Anchor): string {
  return sha256Hex(signedBytes(anchor));
}

/** SPKI DER in base64, as it stands in anchors. */
export function publicKeyText(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
}

/** Seals what the tree holds: the commits after `previous`, up to `lastSeq`. `privateKey` is Ed25519. */
export function sealAnchor(options: {
  readonly stream: string;
  readonly previous: log.Anchor | undefined;
  readonly lastSeq: number;
  readonly tree: MerkleTree;
  readonly sealedAtMs: number;
  readonly privateKey: KeyObject;
}): { anchor: log.Anchor; json: string } {
  const { stream, previous, lastSeq, tree, sealedAtMs, privateKey } = options;
  const anchor = create(log.AnchorSchema, {
    stream,
    firstSeq: (previous?.lastSeq ?? 0) + 1,
    lastSeq,
    count: tree.count,
    merkleRoot: tree.root(),
    prevAnchor: previous === undefined ? '' : anchorHash(previous),
    sealedAtMs,
    publicKey: publicKeyText(privateKey),
  });
  anchor.signature = sign(null, signedBytes(anchor), privateKey).toString('base64');
  return { anchor, json: JSON.stringify(toJson(log.AnchorSchema, anchor)) };
}

/** @throws ANCHOR_INVALID */
export function parseAnchor(json: string): log.Anchor {
  try {
    return fromJsonString(log.AnchorSchema, json, { ignoreUnknownFields: true });
  } catch (cause) {
    throw new CodedError('ANCHOR_INVALID', `not an anchor: ${errorText(cause)}`, { cause });
  }
}

/**
 * What is wrong with an anchor by itself and as the successor of `previous`; undefined when nothing is. With
 * `trustedKeys` (SPKI DER, base64) only those may have signed; otherwise one key must have signed all.
 */
export function anchorProblem(
  anchor: log.Anchor,
  previous: log.Anchor | undefined,
  trustedKeys?: ReadonlySet<string>,
): { rule: 'anchor-signature' | 'anchor-chain' | 'anchor-key'; text: string } | undefined {
  if (!signatureHolds(anchor)) return { rule: 'anchor-signature', text: 'the signature does not fit the anchor' };
  if (trustedKeys !== undefined && !trustedKeys.has(anchor.publicKey)) {
    return { rule: 'anchor-key', text: `signed by a key that is not trusted: ${anchor.publicKey}` };
  }
  if (trustedKeys === undefined && previous !== undefined && previous.publicKey !== anchor.publicKey) {
    return { rule: 'anchor-key', text: 'signed by another key than the anchor before' };
  }
  if (anchor.prevAnchor !== (previous === undefined ? '' : anchorHash(previous))) {
    return { rule: 'anchor-chain', text: 'does not name the anchor before it' };
  }
  if (anchor.firstSeq !== (previous?.lastSeq ?? 0) + 1 || anchor.lastSeq < anchor.firstSeq) {
    return {
      rule: 'anchor-chain',
      text: `covers ${anchor.firstSeq}–${anchor.lastSeq}, after ${previous?.lastSeq ?? 0}`,
    };
  }
  return undefined;
}

/** Throws where `anchorProblem` tells. @throws ANCHOR_INVALID */
export function verifyAnchor(
  anchor: log.Anchor,
  previous: log.Anchor | undefined,
  trustedKeys?: ReadonlySet<string>,
): void {
  const problem = anchorProblem(anchor, previous, trustedKeys);
  if (problem !== undefined) throw new CodedError('ANCHOR_INVALID', `${problem.rule}: ${problem.text}`);
}

function signatureHolds(anchor: log.Anchor): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(anchor.publicKey, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'ed25519') return false;
    return verify(null, signedBytes(anchor), key, Buffer.from(anchor.signature, 'base64'));
  } catch {
    return false;
  }
}
