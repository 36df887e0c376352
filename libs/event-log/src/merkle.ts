import { hash } from 'node:crypto';

const leafMark = 0;
const nodeMark = 1;

const sha256 = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

/**
 * Leaf of the tree over a stream: sha256(0x00 ‖ seq as 8 bytes BE ‖ digest). `digest` is 32 bytes, hex: the chain hash of
 * a commit, or the sha256 of a message's bytes.
 */
export function merkleLeaf(seq: number, digest: string): Buffer {
  const leaf = Buffer.alloc(41);
  leaf[0] = leafMark;
  leaf.writeBigUInt64BE(BigInt(seq), 1);
  leaf.write(digest, 9, 'hex');
  return sha256(leaf);
}

function node(left: Uint8Array, right: Uint8Array): Buffer {
  const bytes = Buffer.alloc(65);
  bytes[0] = nodeMark;
  bytes.set(left, 1);
  bytes.set(right, 33);
  return sha256(bytes);
}

/** The tree of RFC 6962, section 2.1, built leaf by leaf in memory of the logarithm of its size. */
export class MerkleTree {
  /** Perfect subtrees from the largest to the smallest, with their heights. */
  readonly #subtrees: { height: number; root: Buffer }[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(leaf: Buffer): void {
    this.#count++;
    let subtree = { height: 0, root: leaf };
    for (;;) {
      const last = this.#subtrees.at(-1);
      if (last === undefined || last.height !== subtree.height) break;
      this.#subtrees.pop();
      subtree = { height: subtree.height + 1, root: node(last.root, subtree.root) };
    }
    this.#subtrees.push(subtree);
  }

  /** Hex. The root of no leaves is the sha256 of nothing. */
  root(): string {
    let root: Buffer | undefined;
    for (const subtree of this.#subtrees.toReversed())
      root = root === undefined ? subtree.root : node(subtree.root, root);
    return (root ?? sha256(new Uint8Array())).toString('hex');
  }
}
