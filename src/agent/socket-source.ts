// Where the agent's listening sockets come from when it is not the runtime that binds them: a process that takes over from
// another gets them handed down. The agent knows no more of it than this.

export interface SocketSource {
  /** A bound descriptor for `listen({fd})` or `bind({fd})`. Throws when the address cannot be had. */
  take(address: { readonly kind: 'tcp' | 'udp'; readonly host: string; readonly port: number; readonly name: string }): number;
  /** It is about to be closed. */
  closed(fd: number): void;
}
