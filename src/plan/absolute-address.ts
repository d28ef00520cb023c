// Addresses in headers (`origin`, `referer`), as far as Envoy takes them apart.

const ABSOLUTE = /^[a-z][a-z\d+.-]*:\/\/(?:([\w.~!$&'()*+,;=:%-]*)@)?(\[[\da-f:.]+\]|[a-z\d.-]+)(:\d{1,5})?([/?][\x21-\x7e]*)?$/i;
/** No scheme, no fragment: a colon stands behind the first slash. */
const RELATIVE = /^[\w.~!$&'()*+,;=%@?-]*(?:\/[\w.~!$&'()*+,;=%@?/:-]*)?$/;

/** Host and port. As Envoy: what is no absolute address stands for itself. */
export const hostAndPort = (text: string): string => {
  const [, , host, port] = ABSOLUTE.exec(text) ?? [];
  return addressOf(host, port) || text;
};

/** Whether Envoy takes this for a `referer`: an address with neither user nor fragment. */
export const isReferer = (text: string): boolean => {
  const [, user = '', host, port, rest = ''] = ABSOLUTE.exec(text) ?? [];
  return addressOf(host, port) === '' ? RELATIVE.test(text) : user === '' && !/#./.test(rest);
};

const addressOf = (host = '', port = ''): string => (Number(port.slice(1)) > 65_535 ? '' : host + port);
