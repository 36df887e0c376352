import type { Cuts } from './cuts.ts';
import { tokenizerLimits } from './limits.ts';

interface Node {
  readonly parent: Node | undefined;
  readonly text: string;
  readonly tokens: Int32Array;
  children: Map<string, Node> | undefined;
  /** Neighbours by last use; a node was always used at least as lately as those below it. */
  newer: Node | undefined;
  older: Node | undefined;
  dropped: boolean;
}

const nodeOf = (parent: Node | undefined, text: string, tokens: Int32Array): Node => ({
  parent,
  text,
  tokens,
  children: undefined,
  newer: undefined,
  older: undefined,
  dropped: false,
});

/** A text as far as its tokens are known. */
export interface KnownPrefix {
  /** Tokens of each known piece, in order. */
  readonly pieces: Int32Array[];
  readonly tokens: number;
  /** Pieces of the rest, in order; the last one, which may be empty, ends with the text and is not kept. */
  readonly missing: string[];
  readonly missingChars: number;
  readonly last: Node;
}

/**
 * Tokens of texts that begin alike: a tree of pieces, cut at safe places. What a conversation said before is looked up, its new text
 * alone is encoded.
 */
export class PrefixCache {
  readonly #root = nodeOf(undefined, '', new Int32Array());
  #newest: Node | undefined;
  #oldest: Node | undefined;
  #chars = 0;
  #nodes = 0;

  constructor(
    private readonly cuts: Cuts,
    private readonly charsMax: number = tokenizerLimits.cachedCharsMax,
  ) {}

  get chars(): number {
    return this.#chars;
  }

  get nodes(): number {
    return this.#nodes;
  }

  find(text: string): KnownPrefix {
    const pieces: Int32Array[] = [];
    const missing: string[] = [];
    let tokens = 0;
    let at = 0;
    let known = this.#root;
    for (;;) {
      const end = this.cuts.next(text, at);
      if (end < 0) break;
      const piece = text.slice(at, end);
      const child: Node | undefined = missing.length > 0 ? undefined : known.children?.get(piece);
      if (child === undefined) missing.push(piece);
      else {
        pieces.push(child.tokens);
        tokens += child.tokens.length;
        known = child;
      }
      at = end;
    }
    this.#use(known);
    missing.push(text.slice(at));
    const missingChars = missing.reduce((sum, piece) => sum + piece.length, 0);
    return { pieces, tokens, missing, missingChars, last: known };
  }

  /** Keeps the pieces that were missing; `encoded` are their tokens in order, the last of which ends with the text. */
  keep(found: KnownPrefix, encoded: readonly Int32Array[]): void {
    let node = found.last;
    if (node.dropped) return; // forgotten while its rest was encoded
    for (let i = 0; i < found.missing.length - 1; i++) {
      const piece = found.missing[i] as string;
      const there: Node | undefined = node.children?.get(piece);
      if (there !== undefined) node = there;
      else {
        // A slice would keep the whole prompt alive.
        const text = Buffer.from(piece, 'utf16le').toString('utf16le');
        const child = nodeOf(node, text, encoded[i] as Int32Array);
        node.children ??= new Map();
        node.children.set(text, child);
        this.#chars += text.length;
        this.#nodes++;
        node = child;
      }
    }
    this.#use(node);
    while (this.#chars > this.charsMax && this.#oldest !== undefined) this.#drop(this.#oldest);
  }

  /** The node and all that stand before it become the newest, those before it after it. */
  #use(from: Node): void {
    for (let node = from; node.parent !== undefined; node = node.parent) {
      if (node === this.#newest) continue;
      this.#unlink(node);
      node.older = this.#newest;
      if (this.#newest !== undefined) this.#newest.newer = node;
      this.#newest = node;
      this.#oldest ??= node;
    }
  }

  #unlink(node: Node): void {
    const { newer, older } = node;
    if (newer !== undefined) newer.older = older;
    if (older !== undefined) older.newer = newer;
    if (this.#newest === node) this.#newest = older;
    if (this.#oldest === node) this.#oldest = newer;
    node.newer = node.older = undefined;
  }

  #drop(node: Node): void {
    this.#unlink(node);
    node.dropped = true;
    const { parent } = node;
    parent?.children?.delete(node.text);
    if (parent?.children?.size === 0) parent.children = undefined;
    this.#chars -= node.text.length;
    this.#nodes--;
  }
}
