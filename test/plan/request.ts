// Requests and exchanges as the decisions see them, for tests.

import type { RequestView } from '../../src/plan/request-view.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';

export const block = (headers: readonly (readonly [string, string])[] | { readonly [name: string]: string } = []): HeaderBlock => {
  const out = new HeaderBlock();
  for (const [name, value] of Array.isArray(headers) ? headers : Object.entries(headers)) out.add(name, value);
  return out;
};

export const request = (
  path: string,
  more: Partial<Omit<RequestView, 'headers'>> & { headers?: Parameters<typeof block>[0] } = {},
): RequestView => ({ method: 'GET', authority: 'svc', scheme: 'http', ...more, path, headers: block(more.headers) });

export const info = (fields: Partial<StreamInfo> = {}): StreamInfo => Object.assign(new StreamInfo(), fields);
