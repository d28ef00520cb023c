// A transport whose code or address is loaded at its first use. What is sent meanwhile waits.
import type { XdsStream, XdsTransport } from '../../xds/transport.ts';

export const lazyTransport = (load: () => Promise<XdsTransport>): XdsTransport => {
  let loading: Promise<XdsTransport> | undefined;
  return {
    open: (method, events) => {
      let stream: XdsStream | undefined;
      let waiting: Uint8Array[] = [];
      let closed = false;
      loading ??= load();
      loading.then(
        (transport) => {
          if (closed) return;
          stream = transport.open(method, events);
          for (const bytes of waiting) stream.send(bytes);
          waiting = [];
        },
        (e: unknown) => {
          loading = undefined;
          if (!closed) events.end({ code: 14, message: e instanceof Error ? e.message : String(e) });
        },
      );
      return {
        send: (bytes) => {
          if (stream) stream.send(bytes);
          else waiting.push(bytes);
        },
        close: () => {
          closed = true;
          stream?.close();
        },
      };
    },
  };
};
