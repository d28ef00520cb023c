// How a join token is told from other proofs of identity: it is worth a certificate and nothing else, so its holder asks for nothing else
// before it has one.
export const JOIN_PREFIX = 'skein_join_';
