#!/bin/sh
# Makes what the edge of the shop keeps to itself, anew each time: an authority, the gateway's certificates, a partner's certificate, the
# key that tokens are signed with, a password. `sh secrets.sh DIR`: secrets go to DIR/secrets (0700) and, as objects, to DIR/mesh/edge-secrets.yaml.
set -eu
umask 077
[ $# -eq 1 ] || { echo 'usage: sh secrets.sh DIR' >&2; exit 2; }
mkdir -p "$1/secrets" "$1/mesh"
cd "$1/secrets"

leaf() { # name, extensions
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -subj "/CN=$1" -out "$1.csr" 2>/dev/null
  printf '%s\n' "$2" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  rm "$1.csr" "$1.ext"
}
authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -subj "/CN=$1" -days 30 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
}
authority shop-ca
authority partner-ca
leaf shop.example.com subjectAltName=DNS:shop.example.com shop-ca
leaf partners.example.com subjectAltName=DNS:partners.example.com shop-ca
leaf partner subjectAltName=DNS:partner.example.org partner-ca
openssl genrsa -out token.key 2048 2>/dev/null
openssl rand -hex 12 >password

# The public half of the key as a JSON web key: the modulus as base64url of its bytes, the exponent is 65537.
modulus=$(openssl rsa -in token.key -noout -modulus 2>/dev/null | cut -d= -f2)
escaped=$(printf '%s' "$modulus" | sed 's/../\\x&/g')
n=$(env printf '%b' "$escaped" | openssl base64 -A | tr '+/' '-_' | tr -d '=')

indented() { sed 's/^/    /' "$1"; }
{
  for host in shop partners; do
    echo "apiVersion: v1"
    echo "kind: Secret"
    echo "metadata: { name: $host-tls, namespace: istio-system }"
    echo "type: kubernetes.io/tls"
    echo "stringData:"
    echo "  tls.crt: |"
    indented "$host.example.com.crt"
    echo "  tls.key: |"
    indented "$host.example.com.key"
    if [ "$host" = partners ]; then
      echo "  ca.crt: |"
      indented partner-ca.crt
    fi
    echo "---"
  done
  echo "apiVersion: security.istio.io/v1"
  echo "kind: RequestAuthentication"
  echo "metadata: { name: login, namespace: istio-system }"
  echo "spec:"
  echo "  selector: { matchLabels: { istio: ingressgateway } }"
  echo "  jwtRules:"
  echo "    - issuer: https://login.example.com"
  echo "      audiences: [shop]"
  echo "      jwks: '{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"RS256\",\"use\":\"sig\",\"kid\":\"login\",\"e\":\"AQAB\",\"n\":\"$n\"}]}'"
} >../mesh/edge-secrets.yaml
