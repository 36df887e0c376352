import { BlockList, isIP } from 'node:net';
import { CodedError } from '#libs/kernel';

/** Networks by their CIDRs. */
export class Networks {
  readonly #list = new BlockList();

  /** @throws NETWORK_INVALID */
  constructor(cidrs: readonly string[]) {
    for (const cidr of cidrs) {
      const [address = '', bits] = cidr.split('/');
      const family = isIP(address);
      const most = family === 4 ? 32 : 128;
      const length = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
      if (family === 0 || !(length <= most)) {
        throw new CodedError('NETWORK_INVALID', `"${cidr.slice(0, 80)}" is no network`, {
          advice: 'Write an address and the length of its prefix: 10.0.0.0/8, fd00::/8, 192.0.2.7.',
        });
      }
      this.#list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
    }
  }

  has(address: string): boolean {
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && this.#list.check(plain, family === 4 ? 'ipv4' : 'ipv6');
  }
}

/** IPv4 that came over an IPv6 socket is IPv4. */
export const plainAddress = (address: string): string =>
  address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address;

/** Whom an address belongs to: itself, or the /64 that one subscriber of IPv6 has. */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  return isIP(plain) === 6 ? `${groupsOf(plain).slice(0, 4).join(':')}::/64` : plain;
}

/** Enough of an address to see where trouble comes from, too little to know who: /24 and /48. */
export function coarseAddress(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) === 4) return `${plain.slice(0, plain.lastIndexOf('.'))}.0/24`;
  return isIP(plain) === 6 ? `${groupsOf(plain).slice(0, 3).join(':')}::/48` : '';
}

/** The eight groups of an IPv6 address, without leading zeros; a zone is left out. */
function groupsOf(address: string): readonly string[] {
  const [text = ''] = address.split('%', 1);
  const [before = '', after] = text.split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  const zeros = after === undefined ? 0 : 8 - head.length - tail.length - (text.includes('.') ? 1 : 0);
  return [...head, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...tail].map((group) =>
    group.replace(/^0+(?=.)/, '').toLowerCase(),
  );
}
