/** Classes of bytes inside a JSON string: 0 goes on, 1 ends it, 2 escapes, 3 must not stand there. */
export const stringClass = new Uint8Array(256);
stringClass.fill(3, 0, 0x20);
stringClass[0x22] = 1;
stringClass[0x5c] = 2;

export const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

/** 1 for 0-9 a-f A-F. */
export const isHex = new Uint8Array(256);
for (const digit of '0123456789abcdefABCDEF') isHex[digit.charCodeAt(0)] = 1;

/** What may follow a backslash; `u` goes with four hex digits. */
export const isEscape = new Uint8Array(256);
for (const letter of '"\\/bfnrtu') isEscape[letter.charCodeAt(0)] = 1;
