// Byte classes of RFC 9110, as tables for parse loops.

/** Token bytes give their lower-case form; all others 0 (NUL is no token byte). */
export const TOKEN_LOWER = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") TOKEN_LOWER[c.charCodeAt(0)] = c.charCodeAt(0);
for (const c of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') TOKEN_LOWER[c.charCodeAt(0)] = c.charCodeAt(0) + 32;

/** 1 for bytes that may stand in a field value: visible, space, tab and obs-text; no control byte, no DEL. */
export const VALUE_BYTE = new Uint8Array(256);
for (let c = 0x20; c < 256; c++) if (c !== 0x7f) VALUE_BYTE[c] = 1;
VALUE_BYTE[9] = 1;

/** 1 for bytes that may stand in a request target: visible ASCII only (as Envoy's parser). */
export const TARGET_BYTE = new Uint8Array(256);
for (let c = 0x21; c < 0x7f; c++) TARGET_BYTE[c] = 1;

/** 1 for bytes of an authority without user information: unreserved, sub-delims, `:[]%`. */
export const AUTHORITY_BYTE = new Uint8Array(256);
for (const c of "-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") AUTHORITY_BYTE[c.charCodeAt(0)] = 1;

/** Value of a hexadecimal digit, 255 for other bytes. */
export const HEX_VALUE = new Uint8Array(256).fill(255);
for (let i = 0; i < 16; i++) {
  HEX_VALUE[i.toString(16).charCodeAt(0)] = i;
  HEX_VALUE[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

export const CR = 13;
export const LF = 10;
export const SP = 32;
export const HTAB = 9;
export const COLON = 58;
