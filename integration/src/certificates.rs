//! Certificates made by OpenSSL: authorities, and what they sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::OrFail;
use crate::job::done;

/// Who signs.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
    own: Certificate,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Valid {
    /// Today.
    Now,
    /// Until some days ago.
    NoMore,
}

impl Authority {
    /// A new one of that name in a folder, which is made.
    #[track_caller]
    pub fn new(dir: &Path, name: &str) -> Authority {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).or_fail(dir.display());
        let own = Certificate { cert: dir.join("ca.pem"), key: dir.join("ca.key") };
        done(request(Command::new("openssl"), &own, name).args(["-days", "30"]));
        Authority { dir, own }
    }

    /// The file with its certificate.
    pub fn file(&self) -> &Path {
        &self.own.cert
    }

    /// A certificate for `hosts`, such as `IP:127.0.0.1,DNS:localhost`.
    #[track_caller]
    pub fn issue(&self, name: &str, hosts: &str) -> Certificate {
        self.sign(name, hosts, Valid::Now)
    }

    /// The same, valid at some time.
    #[track_caller]
    pub fn sign(&self, name: &str, hosts: &str, valid: Valid) -> Certificate {
        let signed = Certificate {
            cert: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
        };
        let mut program = Command::new("openssl");
        if valid == Valid::NoMore {
            program = Command::new("faketime");
            program.args(["-10 days", "openssl"]);
        }
        let mut command = request(program, &signed, name);
        command.arg("-CA").arg(&self.own.cert).arg("-CAkey").arg(&self.own.key).args(["-days", "2"]);
        for extension in [
            &format!("subjectAltName={hosts}"),
            "basicConstraints=critical,CA:FALSE",
            "extendedKeyUsage=serverAuth,clientAuth",
        ] {
            command.args(["-addext", extension]);
        }
        done(&mut command);
        signed
    }
}

fn request(mut program: Command, to: &Certificate, name: &str) -> Command {
    program.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    program.arg("-subj").arg(format!("/CN={name}")).arg("-out").arg(&to.cert).arg("-keyout").arg(&to.key);
    program
}

impl Certificate {
    /// Flags of a process that has this certificate and believes that authority.
    pub fn flags(&self, authority: &Authority) -> Vec<String> {
        let mut flags = trusting(authority);
        flags.push(format!("--ssl_cert_file={}", self.cert.display()));
        flags.push(format!("--ssl_key_file={}", self.key.display()));
        flags
    }

    /// Puts another one's files in the place of this one's, as tools that renew certificates do.
    #[track_caller]
    pub fn become_like(&self, other: &Certificate) {
        for (from, to) in [(&other.key, &self.key), (&other.cert, &self.cert)] {
            let beside = to.with_extension("new");
            fs::copy(from, &beside).or_fail(beside.display());
            fs::rename(&beside, to).or_fail(to.display());
        }
    }
}

/// Flags of a process that believes that authority.
pub fn trusting(authority: &Authority) -> Vec<String> {
    vec!["--ssl_enabled".to_owned(), format!("--ssl_ca_file={}", authority.file().display())]
}
