import type { KeyObject } from 'node:crypto';
import { createHash, createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { chmod, link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publicKeyText } from '#libs/event-log';
import { CodedError, errorCode, errorText } from '#libs/kernel';

export interface NotaryKeys {
  readonly privateKey: KeyObject;
  /** SPKI DER in base64. */
  readonly publicKey: string;
  /** Keys whose seals count: our own, and each in `<home>/keys/*.pub`. */
  readonly trusted: ReadonlySet<string>;
  /** Where those lie. */
  readonly folder: string;
}

const keyFile = 'notary.pem';

/** Written whole or not at all, and never over a key that is there: two first starts at once end with one key. */
async function writeOnce(file: string, text: string, unique: string): Promise<void> {
  const draft = `${file}.${unique}`;
  await writeFile(draft, text, { mode: 0o600 });
  try {
    await link(draft, file);
  } catch (thrown) {
    if (errorCode(thrown) !== 'EEXIST') throw thrown;
  } finally {
    await rm(draft, { force: true });
  }
}

/**
 * The notary's Ed25519 key, made at the first start; only the user can read it. A public key stays beside it, so that seals of a
 * key that was lost go on to count. @throws NOTARY_KEY_INVALID
 */
export async function notaryKeys(home: string, unique: string): Promise<NotaryKeys> {
  const folder = join(home, 'keys');
  const file = join(folder, keyFile);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    let text = await readFile(file, 'utf8').catch((thrown: unknown) => {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw thrown;
    });
    if (text === undefined) {
      const { privateKey } = generateKeyPairSync('ed25519');
      await writeOnce(file, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), unique);
      text = await readFile(file, 'utf8');
    }
    await chmod(file, 0o600);
    const privateKey = createPrivateKey(text);
    if (privateKey.asymmetricKeyType !== 'ed25519')
      throw new Error(`it is ${privateKey.asymmetricKeyType}, not Ed25519`);
    const publicKey = publicKeyText(privateKey);
    const name = createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
    await writeFile(join(folder, `notary-${name}.pub`), `${publicKey}\n`, { mode: 0o644 });
    const trusted = new Set([publicKey]);
    for (const entry of await readdir(folder)) {
      if (entry.endsWith('.pub')) trusted.add((await readFile(join(folder, entry), 'utf8')).trim());
    }
    return { privateKey, publicKey, trusted, folder };
  } catch (cause) {
    throw new CodedError('NOTARY_KEY_INVALID', `the notary's key ${file}: ${errorText(cause)}`, {
      advice:
        'Mend the permissions or restore the file. Without it move it away: a new key is made, old seals still count.',
      cause,
    });
  }
}
