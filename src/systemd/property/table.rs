//! Which form the value of a unit property has, by its key in unit files.

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `s`
    Text,
    /// `b`
    Bool,
    /// `as`, split at white space with quotes
    Words,
    /// `as`, the same, each a `NAME=VALUE`
    Assignments,
    /// `i`
    Signed,
    /// `u`
    Unsigned,
    /// `t`
    Number,
    /// `u`, written in octal
    Octal,
    /// `t` microseconds; `FooSec` is `FooUSec` on the bus
    Time,
    /// The same, where 0 means without end
    TimeOrNever,
    /// Both `TimeoutStartUSec` and `TimeoutStopUSec`
    TimeoutSec,
    /// `t` nanoseconds; `FooNSec`
    Nanoseconds,
    /// `t` bytes with 1024-based units, or `FooScale` `u` for a percentage
    Size,
    /// The same with a plain number
    Tasks,
    /// `t` from 1 to 10000
    Weight,
    /// `t` microseconds per second from a percentage
    CpuQuota,
    /// `u` as a fraction of 2^32 from a percentage
    Fraction,
    /// `ay`, one bit for each number
    Set,
    /// `a(ss)` path and access
    Device,
    /// `a(st)` path and bytes with 1000-based units
    DeviceBandwidth,
    /// `a(st)` path and weight
    DeviceWeight,
    /// `a(iayu)` address prefixes
    Addresses,
    /// `t` hard and `FooSoft`
    Limit,
    /// `i` from a signal's name
    Signal,
    /// `i` from a syslog facility's name
    Facility,
    /// `i` from a syslog level's name
    LogLevel,
    /// `(bas)`, `~` inverts
    Filter,
    /// `t` from capability names, `~` inverts
    Capabilities,
    /// `t` from namespace names, `~` inverts
    Namespaces,
    /// `a(sasb)`, or `FooEx` `a(sasas)` where the prefixes need it
    Command,
    /// `a(ssbt)` source, destination, ignore, flags
    Bind,
    /// `a(ss)` path and options
    Tmpfs,
    /// `a(ss)` id and path
    LoadCredential,
    /// `TimersCalendar` `a(ss)` base and expression
    Calendar,
    /// `a(say)` id and data
    SetCredential,
    /// `EnvironmentFiles` `a(sb)`
    EnvironmentFile,
    /// `(aiai)` exit codes and signals
    ExitStatus,
    /// `Conditions` or `Asserts` `a(sbbs)`
    Condition,
    /// `aay`, each a `FIELD=VALUE` for the journal
    JournalFields,
    /// `(bs)` a label, `-` ignores that there is none
    Label,
    /// `a(iiqq)` ports that may be bound
    Ports,
    /// `i` by position in this list
    Choice(&'static [&'static str]),
}

/// The form of a key's value. What is not listed is text, and the manager judges.
pub(super) fn kind_of(key: &str) -> Kind {
    match key {
        "CPUAccounting"
        | "MemoryAccounting"
        | "IOAccounting"
        | "TasksAccounting"
        | "IPAccounting"
        | "MemoryZSwapWriteback"
        | "Delegate"
        | "CoredumpReceive"
        | "IgnoreSIGPIPE"
        | "TTYVHangup"
        | "TTYReset"
        | "TTYVTDisallocate"
        | "PrivateTmp"
        | "PrivateDevices"
        | "PrivateNetwork"
        | "PrivateUsers"
        | "PrivateMounts"
        | "PrivateIPC"
        | "PrivatePIDs"
        | "NoNewPrivileges"
        | "SyslogLevelPrefix"
        | "MemoryDenyWriteExecute"
        | "RestrictRealtime"
        | "DynamicUser"
        | "RemoveIPC"
        | "ProtectKernelTunables"
        | "ProtectKernelModules"
        | "ProtectKernelLogs"
        | "ProtectClock"
        | "ProtectControlGroups"
        | "MountAPIVFS"
        | "BindLogSockets"
        | "CPUSchedulingResetOnFork"
        | "LockPersonality"
        | "ProtectHostname"
        | "MemoryKSM"
        | "RestrictSUIDSGID"
        | "RootEphemeral"
        | "SetLoginEnvironment"
        | "SendSIGHUP"
        | "SendSIGKILL"
        | "NonBlocking"
        | "RootDirectoryStartOnly"
        | "PermissionsStartOnly"
        | "DefaultDependencies"
        | "StopWhenUnneeded"
        | "RefuseManualStart"
        | "RefuseManualStop"
        | "AllowIsolate"
        | "IgnoreOnIsolate"
        | "SurviveFinalKillSignal" => Kind::Bool,

        "ReadWritePaths"
        | "ReadOnlyPaths"
        | "InaccessiblePaths"
        | "ExecPaths"
        | "NoExecPaths"
        | "ExecSearchPath"
        | "ExtensionDirectories"
        | "ConfigurationDirectory"
        | "LogsDirectory"
        | "CacheDirectory"
        | "RuntimeDirectory"
        | "StateDirectory"
        | "SupplementaryGroups"
        | "PassEnvironment"
        | "UnsetEnvironment"
        | "SystemCallArchitectures"
        | "Documentation"
        | "Requires"
        | "Requisite"
        | "Wants"
        | "BindsTo"
        | "PartOf"
        | "Upholds"
        | "Conflicts"
        | "Before"
        | "After"
        | "OnFailure"
        | "OnSuccess"
        | "PropagatesReloadTo"
        | "ReloadPropagatedFrom"
        | "PropagatesStopTo"
        | "StopPropagatedFrom"
        | "JoinsNamespaceOf"
        | "RequiresMountsFor"
        | "WantsMountsFor"
        | "IPIngressFilterPath"
        | "IPEgressFilterPath"
        | "DisableControllers"
        | "Sockets" => Kind::Words,
        "Environment" => Kind::Assignments,
        "EnvironmentFile" => Kind::EnvironmentFile,

        "MemoryMin"
        | "DefaultMemoryMin"
        | "MemoryLow"
        | "DefaultMemoryLow"
        | "MemoryHigh"
        | "MemoryMax"
        | "MemorySwapMax"
        | "MemoryZSwapMax"
        | "MemoryLimit"
        | "StartupMemoryLow"
        | "StartupMemoryHigh"
        | "StartupMemoryMax"
        | "StartupMemorySwapMax"
        | "StartupMemoryZSwapMax" => Kind::Size,
        "TasksMax" => Kind::Tasks,
        "CPUWeight" | "StartupCPUWeight" | "IOWeight" | "StartupIOWeight" => Kind::Weight,
        "CPUQuota" => Kind::CpuQuota,
        "ManagedOOMMemoryPressureLimit" => Kind::Fraction,
        "AllowedCPUs"
        | "StartupAllowedCPUs"
        | "AllowedMemoryNodes"
        | "StartupAllowedMemoryNodes"
        | "CPUAffinity"
        | "NUMAMask" => Kind::Set,
        "DeviceAllow" => Kind::Device,
        "IOReadBandwidthMax" | "IOWriteBandwidthMax" | "IOReadIOPSMax" | "IOWriteIOPSMax" => Kind::DeviceBandwidth,
        "IODeviceWeight" => Kind::DeviceWeight,
        "IPAddressAllow" | "IPAddressDeny" => Kind::Addresses,

        "TimeoutSec" => Kind::TimeoutSec,
        "TimeoutStartSec" | "TimeoutStopSec" | "TimeoutAbortSec" => Kind::TimeOrNever,
        "AccuracySec"
        | "RestartSec"
        | "RestartMaxDelaySec"
        | "RuntimeMaxSec"
        | "RuntimeRandomizedExtraSec"
        | "WatchdogSec"
        | "LogRateLimitIntervalSec"
        | "JobTimeoutSec"
        | "JobRunningTimeoutSec"
        | "StartLimitIntervalSec"
        | "CPUQuotaPeriodSec"
        | "TimeoutCleanSec"
        | "ManagedOOMMemoryPressureDurationSec"
        | "MemoryPressureThresholdSec" => Kind::Time,
        "TimerSlackNSec" => Kind::Nanoseconds,

        "StartLimitBurst" | "LogRateLimitBurst" | "FileDescriptorStoreMax" | "RestartSteps" => Kind::Unsigned,
        "OOMScoreAdjust" | "Nice" | "CPUSchedulingPriority" | "IOSchedulingPriority" => Kind::Signed,
        "CoredumpFilter" => Kind::Number,
        "UMask"
        | "RuntimeDirectoryMode"
        | "StateDirectoryMode"
        | "CacheDirectoryMode"
        | "LogsDirectoryMode"
        | "ConfigurationDirectoryMode" => Kind::Octal,
        "IOSchedulingClass" => Kind::Choice(&["none", "realtime", "best-effort", "idle"]),
        "CPUSchedulingPolicy" => Kind::Choice(&["other", "fifo", "rr", "batch", "", "idle"]),
        // By their numbers in Linux; what a filter says is one of these.
        "SystemCallErrorNumber" => Kind::Choice(&[
            "", "EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "ENOEXEC", "EBADF", "ECHILD", "EAGAIN",
            "ENOMEM", "EACCES",
        ]),
        "NUMAPolicy" => Kind::Choice(&["default", "preferred", "bind", "interleave", "local"]),
        "KillSignal" | "RestartKillSignal" | "FinalKillSignal" | "WatchdogSignal" | "ReloadSignal" => Kind::Signal,
        "SyslogLevel" | "LogLevelMax" => Kind::LogLevel,

        "LogExtraFields" => Kind::JournalFields,
        "AppArmorProfile" | "SmackProcessLabel" => Kind::Label,
        "SocketBindAllow" | "SocketBindDeny" => Kind::Ports,
        "SyslogFacility" => Kind::Facility,
        "RestrictAddressFamilies"
        | "SystemCallFilter"
        | "SystemCallLog"
        | "RestrictFileSystems"
        | "RestrictNetworkInterfaces" => Kind::Filter,
        "CapabilityBoundingSet" | "AmbientCapabilities" => Kind::Capabilities,
        "RestrictNamespaces" => Kind::Namespaces,
        "ExecStart" | "ExecStartPre" | "ExecStartPost" | "ExecStop" | "ExecStopPost" | "ExecCondition"
        | "ExecReload" => Kind::Command,
        "BindPaths" | "BindReadOnlyPaths" => Kind::Bind,
        "TemporaryFileSystem" => Kind::Tmpfs,
        "LoadCredential" | "LoadCredentialEncrypted" => Kind::LoadCredential,
        "OnCalendar" => Kind::Calendar,
        "SetCredential" => Kind::SetCredential,
        "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" => Kind::ExitStatus,

        _ if key.starts_with("Limit") => Kind::Limit,
        _ if key.starts_with("Condition") || key.starts_with("Assert") => Kind::Condition,
        _ => Kind::Text,
    }
}
