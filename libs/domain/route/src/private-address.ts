import { BlockList, isIP } from 'node:net';

const blocked = new BlockList();
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const)
  blocked.addSubnet(net, prefix, 'ipv4');
for (const [net, prefix] of [
  ['::', 127],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  blocked.addSubnet(net, prefix, 'ipv6');

/** An address that is not of the public Internet: this machine, its networks, its cloud's metadata. Text that is no address is one. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  // Node checks a mapped IPv4 address by the rules of IPv4.
  return family === 0 || blocked.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** A host that names this machine or a network of one's own; what another name leads to is seen when it is connected to. */
export function isPrivateHost(host: string): boolean {
  const bare = host.startsWith('[') ? host.slice(1, -1) : host.replace(/\.$/, '').toLowerCase();
  if (isIP(bare) !== 0) return isPrivateAddress(bare);
  return !bare.includes('.') || /(?:^|\.)(?:localhost|local|internal|intranet|home|lan)$/.test(bare);
}
