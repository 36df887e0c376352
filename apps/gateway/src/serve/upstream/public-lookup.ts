import type { LookupFunction } from 'node:net';
import { lookup } from 'node:dns';
import { isPrivateAddress } from '#libs/domain/route';

/** Names as the system finds them, but for addresses that are not of the public Internet: a name may come to lead there at any time. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) return callback(error, '', 0);
    const open = found.filter(({ address }) => !isPrivateAddress(address));
    const [first] = open;
    if (first === undefined) return callback(new Error(`${hostname} leads to private addresses alone`), '', 0);
    return options.all === true ? callback(null, open) : callback(null, first.address, first.family);
  });
};
