# image.sh OUT NAME LAYER - an OCI archive of one layer with a static busybox, made without a network; and the layer by itself.
set -euo pipefail
out=$1 name=$2 alone=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/image/blobs/sha256
mkdir -p "$blobs" "$work/root/bin" "$work/root/dev" "$work/root/etc" "$work/root/proc" "$work/root/sys" "$work/root/tmp"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for applet in sh cat echo sleep true false id ps seq head tr stty test touch tty grep hostname wc ls; do ln -s busybox "$work/root/bin/$applet"; done
add() { # FILE: moves it among the blobs, and prints what a descriptor says of it
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
    printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}
type=application/vnd.oci.image
tar -C "$work/root" --numeric-owner --owner=0 --group=0 --mtime=@0 --sort=name -cf "$work/layer" .
cp "$work/layer" "$alone"
diff=$(sha256sum "$work/layer" | cut -d' ' -f1)
layer=$(add "$work/layer")
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$arch" "$diff" >"$work/config"
config=$(add "$work/config")
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' \
    "$type" "$type" "$config" "$type" "$layer" >"$work/manifest"
manifest=$(add "$work/manifest")
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
    "$type" "$manifest" "$name" >"$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
tar -C "$work/image" -cf "$out" .
