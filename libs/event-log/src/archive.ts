import { CodedError, errorText } from '#libs/kernel';
import type { StoredCommit } from './commit.ts';

/**
 * The log as a file of lines (NDJSON): a header, the anchors, the commits in order, an end that counts them. Payloads
 * stand as text, byte for byte, so that the file can be read by people and the hashes still fit.
 */
export interface ArchiveHeader {
  readonly kind: 'header';
  readonly format: 1;
  readonly stream: string;
  readonly createdAtMs: number;
}

export type ArchiveEntry =
  | ArchiveHeader
  | { readonly kind: 'anchor'; readonly json: string }
  | { readonly kind: 'commit'; readonly commit: StoredCommit }
  | { readonly kind: 'end'; readonly commits: number; readonly lastSeq: number };

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** One line without its newline. */
export function archiveLine(entry: ArchiveEntry): string {
  if (entry.kind !== 'commit') return JSON.stringify(entry);
  const { payload, ...rest } = entry.commit;
  return JSON.stringify({ kind: 'commit', ...rest, ...payloadFields(payload) });
}

function payloadFields(payload: Uint8Array): { payload: string } | { payloadBase64: string } {
  try {
    return { payload: utf8.decode(payload) };
  } catch {
    return { payloadBase64: Buffer.from(payload).toString('base64') };
  }
}

/** Reads an archive line by line and holds it to its form. Errors name the line. */
export class ArchiveReader {
  #line = 0;
  #commits = 0;
  #lastSeq = 0;
  #ended = false;

  /** The entry of the next line, or undefined for an empty one. @throws ARCHIVE_INVALID */
  read(text: string): ArchiveEntry | undefined {
    this.#line++;
    if (text.trim() === '') return undefined;
    if (this.#ended) throw this.#invalid('stands after the end');
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw this.#invalid(`not JSON: ${errorText(cause)}`, cause);
    }
    if (typeof json !== 'object' || json === null) throw this.#invalid('not an object');
    return this.#entry(json as Record<string, unknown>);
  }

  /** After the last line. @throws ARCHIVE_TRUNCATED */
  finish(): void {
    if (this.#ended) return;
    throw new CodedError('ARCHIVE_TRUNCATED', `line ${this.#line}: the archive has no end line`, {
      advice: 'The export was cut off: export again, or import what is there knowing that more was written.',
    });
  }

  #entry(json: Record<string, unknown>): ArchiveEntry {
    const { kind } = json;
    if ((this.#line === 1) !== (kind === 'header')) throw this.#invalid('the header must be the first line');
    switch (kind) {
      case 'header':
        if (json['format'] !== 1) throw this.#invalid(`format ${JSON.stringify(json['format'])} is not known`);
        return { kind, format: 1, stream: this.#text(json, 'stream'), createdAtMs: this.#number(json, 'createdAtMs') };
      case 'anchor':
        return { kind, json: this.#text(json, 'json') };
      case 'commit':
        return { kind, commit: this.#commit(json) };
      case 'end': {
        const end = { kind, commits: this.#whole(json, 'commits'), lastSeq: this.#whole(json, 'lastSeq') } as const;
        if (end.commits !== this.#commits || end.lastSeq !== this.#lastSeq) {
          throw this.#invalid(
            `the end counts ${end.commits} commits to ${end.lastSeq}, the file has ${this.#commits} to ${this.#lastSeq}`,
          );
        }
        this.#ended = true;
        return end;
      }
      default:
        throw this.#invalid(`kind ${JSON.stringify(kind)} is not known`);
    }
  }

  #commit(json: Record<string, unknown>): StoredCommit {
    const seq = this.#whole(json, 'seq');
    if (seq <= this.#lastSeq) throw this.#invalid(`sequence ${seq} after ${this.#lastSeq}`);
    const payload =
      json['payloadBase64'] === undefined
        ? Buffer.from(this.#text(json, 'payload'))
        : Buffer.from(this.#text(json, 'payloadBase64'), 'base64');
    const commit = {
      seq,
      subject: this.#text(json, 'subject'),
      commitId: this.#text(json, 'commitId'),
      version: this.#whole(json, 'version'),
      prevHash: this.#text(json, 'prevHash'),
      hash: this.#text(json, 'hash'),
      schemaLevel: this.#whole(json, 'schemaLevel'),
      storedAtMs: this.#number(json, 'storedAtMs'),
      payload: new Uint8Array(payload),
    };
    this.#commits++;
    this.#lastSeq = seq;
    return commit;
  }

  #text(json: Record<string, unknown>, field: string): string {
    const value = json[field];
    if (typeof value !== 'string') throw this.#invalid(`${field} is not a text`);
    return value;
  }

  #number(json: Record<string, unknown>, field: string): number {
    const value = json[field];
    if (typeof value !== 'number') throw this.#invalid(`${field} is not a number`);
    return value;
  }

  #whole(json: Record<string, unknown>, field: string): number {
    const value = this.#number(json, field);
    if (!Number.isSafeInteger(value) || value < 0) throw this.#invalid(`${field} is not a whole number`);
    return value;
  }

  #invalid(why: string, cause?: unknown): CodedError {
    return new CodedError('ARCHIVE_INVALID', `line ${this.#line}: ${why}`, {
      advice: 'The file is not an archive of lintel, or was changed since it was written.',
      cause,
    });
  }
}
