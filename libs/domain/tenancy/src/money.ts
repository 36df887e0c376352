const nanoPerUnit = 1_000_000_000n;

/** Billionths of a currency as a decimal, exactly: at least two digits after the point, no more than it takes. */
export function nanoText(nano: number | bigint): string {
  const value = BigInt(nano);
  const size = value < 0n ? -value : value;
  const digits = (size % nanoPerUnit).toString().padStart(9, '0');
  return `${value < 0n ? '-' : ''}${size / nanoPerUnit}.${digits.replace(/0{1,7}$/, '')}`;
}
