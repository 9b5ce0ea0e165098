//! Fetches jars with the user's Maven, from a generated POM into a folder.
//!
//! Maven knows the mirrors, proxies and credentials in the settings of the user's company.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use super::{Faulty, Jar, examine};
use crate::error::{Error, Exit, Result};
use crate::files::{open_regular_file, publish, replace_private_file};
use crate::guardian::Guardian;
use crate::launch::daemon::Daemon;
use crate::launch::paths::flag;
use crate::output::Reporter;
use crate::secret::Masked;

/// The plugin has a fixed version, so that locks are reproducible.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// A folder of jars that Maven has copied, as `group/as/folders/artifact/version/file`.
#[derive(Debug)]
pub(super) struct Resolution {
    folder: TempDir,
}

impl Resolution {
    /// Resolves a daemon and all its dependencies.
    pub(super) fn of(
        daemon: Daemon,
        folder: TempDir,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<Resolution> {
        let (group, artifact) = daemon.artifact();
        let version = daemon.version().to_string();
        let dependency = dependency(group, artifact, &version, None, Dependencies::Resolve);
        run(&pom(&[dependency]), folder, guardian, reporter)
    }

    /// Fetches exactly these jars. Their dependencies are in the lock too.
    pub(super) fn exactly(
        jars: &[&Jar],
        folder: TempDir,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<Resolution> {
        let dependencies: Vec<String> = jars
            .iter()
            .map(|jar| {
                let Jar { group, artifact, version, .. } = jar;
                dependency(group, artifact, version, jar.classifier(), Dependencies::Exclude)
            })
            .collect();
        run(&pom(&dependencies), folder, guardian, reporter)
    }

    /// Verifies one jar and moves it to its folder.
    pub(super) fn publish(&self, jar: &Jar, folder: &Path) -> Result<()> {
        let copied = self.folder.path().join("lib").join(jar.repository_path());
        examine(&copied, jar).map_err(|fault| {
            let faulty = Faulty { jar: jar.clone(), fault };
            let message = format!("the jar from Maven does not match the lock: {faulty}");
            Error::new(Exit::Environment, message)
                .hint("the copy in ~/.m2 may be corrupt; delete it")
        })?;
        let target = folder.join(&jar.file);
        publish(&copied, &target).map_err(|error| super::cannot_write(&target, error))
    }

    /// Returns all jars that were copied.
    pub(super) fn jars(&self) -> Result<Vec<Jar>> {
        let root = self.folder.path().join("lib");
        let mut jars = Vec::new();
        collect(&root, &mut Vec::new(), &mut jars).map_err(|error| {
            Error::new(Exit::Environment, "cannot read the jars from Maven").because(error)
        })?;
        if jars.is_empty() {
            return Err(Error::new(Exit::Environment, "Maven found no jars"));
        }
        Ok(jars)
    }
}

fn run(pom: &str, folder: TempDir, guardian: &Guardian, reporter: &Reporter) -> Result<Resolution> {
    let pom_file = folder.path().join("pom.xml");
    replace_private_file(&pom_file, pom.as_bytes())
        .map_err(|error| super::cannot_write(&pom_file, error))?;
    let mut words = ["mvn", "-q", "-B", "-f"].map(OsString::from).to_vec();
    words.push(pom_file.into());
    words.extend(
        [COPY, "-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"].map(OsString::from),
    );
    words.push(flag("-DoutputDirectory=", &folder.path().join("lib")));
    let output = guardian.output(words).map_err(|error| {
        Error::new(Exit::Environment, "cannot start Maven (mvn)")
            .because(error)
            .hint("install it, or name a repository with --repository or KCL_MVN_REPO_SEARCH_URL")
    })?;
    let mut log = String::from_utf8_lossy(&output.stdout).into_owned();
    log.push_str(&String::from_utf8_lossy(&output.stderr));
    // Some versions of Maven use colours despite `-B`.
    let log = anstream::adapter::strip_str(&log).to_string();
    // It may quote credentials in addresses and settings.
    let log = Masked::of_text(log).to_string();
    log.trim_end().lines().for_each(|line| reporter.detail(&format!("maven | {line}")));
    if output.status.success() {
        return Ok(Resolution { folder });
    }
    let why = match log.trim() {
        "" => "it wrote nothing",
        // The first error that is not blank says most.
        log => log
            .lines()
            .filter_map(|line| line.strip_prefix("[ERROR]").map(str::trim))
            .find(|line| !line.is_empty())
            .or_else(|| log.lines().next())
            .unwrap_or(log),
    };
    let message = format!("cannot fetch the jars: Maven ended with {}", output.status);
    Err(Error::new(Exit::Environment, message)
        .because(why.to_owned())
        .hint("use -v to see all output of Maven"))
}

/// What Maven does with the dependencies of a jar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dependencies {
    Resolve,
    Exclude,
}

fn dependency(
    group: &str,
    artifact: &str,
    version: &str,
    classifier: Option<&str>,
    dependencies: Dependencies,
) -> String {
    let mut xml = format!(
        "    <dependency>\n      <groupId>{}</groupId>\n      <artifactId>{}</artifactId>\n      \
         <version>{}</version>\n",
        escape(group),
        escape(artifact),
        escape(version)
    );
    if let Some(classifier) = classifier {
        xml.push_str(&format!("      <classifier>{}</classifier>\n", escape(classifier)));
    }
    if dependencies == Dependencies::Exclude {
        xml.push_str(
            "      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>\
             </exclusion></exclusions>\n",
        );
    }
    xml.push_str("    </dependency>\n");
    xml
}

fn pom(dependencies: &[String]) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  <groupId>kcl-helper</groupId>\n  <artifactId>jars</artifactId>\n  <version>1</version>\n  \
         <packaging>pom</packaging>\n  <dependencies>\n{}  </dependencies>\n</project>\n",
        dependencies.concat()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Walks the repository layout; `parts` are the folders above.
fn collect(folder: &Path, parts: &mut Vec<String>, jars: &mut Vec<Jar>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            parts.push(name);
            collect(&entry.path(), parts, jars)?;
            parts.pop();
            continue;
        }
        // Maven also writes files of its own.
        if let ([group @ .., artifact, version], true) = (parts.as_slice(), name.ends_with(".jar"))
        {
            jars.push(Jar {
                file: name,
                group: group.join("."),
                artifact: artifact.clone(),
                version: version.clone(),
                size: entry.metadata()?.len(),
                sha256: super::checksum(open_regular_file(&entry.path())?)?,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pom_has_the_dependencies() {
        let dependencies = [
            dependency("g", "a&b", "1", Some("linux"), Dependencies::Exclude),
            dependency("h", "c", "2", None, Dependencies::Resolve),
        ];
        insta::assert_snapshot!(pom(&dependencies), @r#"
        <project xmlns="http://maven.apache.org/POM/4.0.0">
          <modelVersion>4.0.0</modelVersion>
          <groupId>kcl-helper</groupId>
          <artifactId>jars</artifactId>
          <version>1</version>
          <packaging>pom</packaging>
          <dependencies>
            <dependency>
              <groupId>g</groupId>
              <artifactId>a&amp;b</artifactId>
              <version>1</version>
              <classifier>linux</classifier>
              <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
            </dependency>
            <dependency>
              <groupId>h</groupId>
              <artifactId>c</artifactId>
              <version>2</version>
            </dependency>
          </dependencies>
        </project>
        "#);
    }
}
