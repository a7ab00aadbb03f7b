# shellcheck shell=bash
# lib.sh: what contrib/setup, contrib/demo and tests/run share. To be sourced by bash; prints to standard error alone.
#
#   install_packages build lab ...   install what these sets lack; nothing is touched where nothing is missing
#   require_cargo                    fail with the way to get cargo, unless there is one
#   target_directory                 print where cargo builds

# What each set needs. Debian's names: what a package is for is what the set is called.
packages_of() {
  case $1 in
    build) echo gcc libc6-dev make binutils ;;
    run) echo qemu-system-x86 ;;
    lab) echo systemd systemd-container dbus dbus-user-session polkitd libpam-systemd util-linux procps passwd ;;
    tests)
      echo busybox-static cpio xz-utils zstd mmdebstrap mandoc shellcheck python3-pip
      # dnsmasq-base has the program alone: dnsmasq would start a service.
      echo nftables iproute2 dnsmasq-base curl sudo
      # For images: who else makes them, a registry, and what its passwords and certificates are made by.
      echo skopeo umoci docker-registry apache2-utils openssl
      ;;
    *) die "no such set of packages: $1" ;;
  esac
}

say() { echo "${0##*/}: $*" >&2; }
die() { say "error: $*"; exit 1; }

is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
  local name wanted=() missing=()
  for name in "$@"; do wanted+=("$(packages_of "$name")") || exit; done
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    require_programs
    return
  fi
  # shellcheck disable=SC2048 # each is several names
  for name in ${wanted[*]}; do is_installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "not installed: ${missing[*]}; as root, contrib/setup installs what is missing"
  say "installing ${missing[*]}"
  apt_get update || die "apt-get update failed; needed are: ${missing[*]}"
  if ! apt_get install --simulate "${missing[@]}" >/dev/null 2>&1 && [ -n "$(backports)" ]; then
    # Beside what was installed from backports before, only what is from there fits.
    use_backports
    apt_get install --target-release "$(backports)" "${missing[@]}" || die "cannot install ${missing[*]}"
  else
    apt_get install "${missing[@]}" || die "cannot install ${missing[*]}"
  fi
}

apt_get() {
  local options=(-qq)
  if [ "$1" = install ]; then options+=(--yes --no-install-recommends); fi
  DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$@" </dev/null >&2
}

# The backports suite of this Debian, if it has one.
backports() {
  (
    # shellcheck source=/dev/null
    . /etc/os-release
    case ${ID:-}-${VERSION_CODENAME:-} in debian-bookworm | debian-trixie) echo "$VERSION_CODENAME-backports" ;; esac
  )
}

# Makes apt know the backports suite, from the mirror that it uses already.
use_backports() {
  local suite site
  suite=$(backports)
  # shellcheck disable=SC2016 # those are apt's variables
  if apt-get indextargets --format '$(SUITE) $(CODENAME)' | grep -qw "$suite"; then return; fi
  # shellcheck disable=SC2016
  site=$(apt-get indextargets --format '$(CODENAME) $(SITE)' 'Created-By: Packages' |
    sed -n "s/^${suite%-backports} //p" | head -n1)
  say "adding $suite to /etc/apt/sources.list.d/kraft-backports.list"
  echo "deb ${site:-http://deb.debian.org/debian} $suite main" >/etc/apt/sources.list.d/kraft-backports.list
  apt_get update || die "apt-get update failed with $suite"
}

# Where there is no apt: say what is missing, by the programs that are looked for.
require_programs() {
  local program missing=()
  for program in gcc make ld objcopy qemu-system-x86_64 systemd-nspawn dbus-daemon nsenter setpriv useradd; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("$program")
  done
  [ ${#missing[@]} = 0 ] ||
    die "missing: ${missing[*]}. This is not Debian: please install them by your distribution's means, then try again"
}

require_cargo() {
  # Where rustup puts it, which is not in the PATH of every root.
  if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ]; then
    PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH
  fi
  command -v cargo >/dev/null || die "cargo is not installed: https://rustup.rs has the Rust toolchain \
(Rust $(rust_version) or newer; Debian's own is older)"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml"; }

target_directory() {
  local repo
  repo=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
  realpath -m "${CARGO_TARGET_DIR:-$repo/target}"
}
