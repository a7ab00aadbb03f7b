//! Compose files, and files of variables.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use kraft::compose::{self, Variables};

const WHOLE: &str = r#"
name: shop
x-common: &common
  restart: on-failure:3
  mem_limit: ${MEM:-64m}
services:
  db:
    <<: *common
    image: ./db.elf
    volumes: [data:/data, ./conf:/conf:ro]
    x-kraft: {health: "tcp:5432", kernel-args: [quiet]}
    healthcheck: {interval: 5s, retries: 2}
    secrets: [key]
  web:
    image: "./web.elf"
    command: serve --name 'a b' "$$HOME"
    environment:
      - WHO=${WHO?}
      - PLAIN
    ports:
      - "127.0.0.1:8080-8081:80-81/udp"
      - {target: 443, published: 8443}
    networks:
      front: {aliases: [www], ipv4_address: 10.9.0.7}
    depends_on:
      db: {condition: service_healthy, restart: true}
    deploy: {replicas: 2, resources: {limits: {cpus: "1.5", pids: 40}}}
networks:
  front: {internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}
volumes: {data: }
secrets: {key: {file: ./key}}
"#;

const DOTENV: &str = "# c\nexport A=1\nB='$A # x' # y\nC=\"a\\n${A:-${B}} \\$A\"\nD=$A-${A} # c\nE\n";

fn variables() -> Variables {
    Variables { values: BTreeMap::from([("WHO".to_owned(), "me".to_owned()), ("MEM".to_owned(), "1g".to_owned())]) }
}

proptest! {
    #![proptest_config(crate::config())]

    /// What is wrong is said on one line each, with the file and the line.
    #[test]
    fn any_compose_file_is_read_or_refused(bytes in crate::damaged(vec![WHOLE.as_bytes().to_vec()])) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(flaws) = compose::parse(&text, Path::new("c.yaml"), &variables()) {
            prop_assert!(!flaws.is_empty());
            for flaw in flaws {
                let flaw = flaw.to_string();
                prop_assert!(!flaw.contains('\n'), "{:?}", flaw);
                let line = flaw.strip_prefix("c.yaml:").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
                prop_assert!(line.is_some_and(|line| line >= 1), "{}", flaw);
            }
        }
    }

    #[test]
    fn any_file_of_variables_is_read_or_refused(bytes in crate::damaged(vec![DOTENV.as_bytes().to_vec()])) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(flaw) = compose::dotenv(&text, Path::new(".env"), &variables()) {
            prop_assert!(flaw.to_string().starts_with(".env:") && !flaw.to_string().contains('\n'), "{:?}", flaw);
        }
    }
}

#[test]
fn the_whole_file_is_right() {
    let (file, warnings) = compose::parse(WHOLE, Path::new("c.yaml"), &variables()).unwrap();
    assert_eq!((file.services.len(), warnings), (2, Vec::new()));
}
