//! How data connections come about, with real servers behind real firewalls: each test has a network of its own.
//!
//! Needs root and `/dev/fuse`; `cargo test --test real_servers data_modes::`.

use crate::namespace::run;

#[test]
fn passive_by_default() {
    run(
        60,
        "vsftpd; mounts ''; copies; unmounts; says $S/log 'made by EPSV'; not_says $S/log '> PASV'",
    );
}

#[test]
fn passive_off_is_active() {
    run(
        60,
        "vsftpd pasv_enable=NO; mounts ''; copies; unmounts; says $S/log 'made by EPRT'",
    );
}

#[test]
fn active_off_is_passive() {
    run(
        60,
        "vsftpd port_enable=NO; mounts ''; copies; unmounts; says $S/log 'made by EPSV'",
    );
}

#[test]
fn active_off_and_asked_for_says_so() {
    run(
        60,
        "vsftpd port_enable=NO; mounts mode=active; ! ls $M 2>/dev/null || fail 'it listed'
         soon says $S/log 'no data connection can be made'; says $S/log 'try mode=passive'; says $S/log 'EPRT'; says $S/log 'PORT'",
    );
}

#[test]
fn passive_off_and_asked_for_says_so() {
    run(
        60,
        "vsftpd pasv_enable=NO; mounts mode=passive; ! ls $M 2>/dev/null || fail 'it listed'
         soon says $S/log 'try mode=active'",
    );
}

#[test]
fn active_on_every_server() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            60,
            &format!(
                "{server}; mounts mode=active,port_range=40000-40009; copies; unmounts
                 says $S/log '> EPRT |1|127.0.0.1|4000'; not_says $S/log '> EPSV'"
            ),
        );
    }
}

#[test]
fn epsv_refused_is_pasv() {
    run(
        60,
        "proftpd '<Limit EPSV EPRT>' DenyAll '</Limit>' 'MasqueradeAddress 10.9.8.7'
         mounts ''; copies; unmounts; says $S/log 'made by PASV'; says $S/log '(10,9,8,7,'
         mounts mode=active; copies; unmounts; says $S/log 'made by PORT'",
    );
}

/// No host has the address 10.9.8.7: a connection to it would fail.
#[test]
fn the_address_in_a_227_counts_only_when_it_is_asked_for() {
    run(
        60,
        "ip address add 10.9.8.7/32 dev lo; proftpd 'MasqueradeAddress 10.9.8.7' 'DefaultAddress 0.0.0.0'
         nft 'add table ip n; add chain ip n c { type nat hook output priority -100; }'
         nft 'add rule ip n c ip daddr 10.9.8.7 tcp dport 1024-65535 dnat to 127.0.0.1'
         mounts pasv_ip=server,mode=passive; copies; unmounts; says $S/log 'made by PASV'
         ip address del 10.9.8.7/32 dev lo
         ip route add blackhole 10.9.8.7
         mounts pasv_ip=server,mode=passive; copies; unmounts; says $S/log 'made by EPSV'",
    );
}

#[test]
fn a_private_address_of_a_public_server_is_never_used() {
    run(
        60,
        "ip address add 203.0.113.5/32 dev lo; proftpd 'MasqueradeAddress 10.9.8.7' 'DefaultAddress 203.0.113.5'
         mounts pasv_ip=server,mode=passive ${URL/127.0.0.1/203.0.113.5}; copies; unmounts
         says $S/log \"10.9.8.7 can't be reached from here\"; says $S/log 'made by PASV'",
    );
}

#[test]
fn filtered_passive_ports_are_passed_by_within_one_timeout() {
    run(
        90,
        "vsftpd pasv_min_port=50000 pasv_max_port=51000
         nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }'
         nft 'add rule inet t c tcp dport 50000-51000 drop'
         mounts timeout=20; SECONDS=0; ls $M; [ $SECONDS -lt 20 ] || fail \"after $SECONDS seconds\"
         copies; unmounts; says $S/log 'EPSV data connection failed'; says $S/log 'made by EPRT'
         # Nothing gets through: all four are named, within the time that an operation has.
         nft 'add rule inet t c tcp dport 40000-40009 drop'
         mounts timeout=20,port_range=40000-40009; SECONDS=0; ! ls $M 2>/dev/null || fail 'it listed'
         [ $SECONDS -lt 45 ] || fail \"after $SECONDS seconds\"
         soon says $S/log 'no data connection can be made: EPSV'",
    );
}

#[test]
fn working_data_mode_is_remembered() {
    run(
        60,
        "vsftpd pasv_enable=NO; mounts cache_timeout=0; for n in {1..5}; do ls $M >/dev/null; sleep 1.1; done
         is \"$(grep -c '> EPSV' $S/log) $(grep -c '> PASV' $S/log)\" '1 1'; unmounts",
    );
}

#[test]
fn ipv6_both_ways() {
    run(
        60,
        "U=ftp://$account:$password@[::1]/; vsftpd address=::1
         mounts '' $U; copies; unmounts; says $S/log 'made by EPSV'
         mounts mode=active $U; copies; unmounts; says $S/log '> EPRT |2|::1|'
         mounts ipv6 $U; unmounts
         refuses ipv4 $U; says $S/why 'ipv4'",
    );
}

#[test]
fn bound_to_an_address_or_an_interface() {
    run(
        60,
        "ip address add 127.0.0.9/8 dev lo; vsftpd
         mounts bind=127.0.0.9; (exec 3<$M/.; ls $M; ss -tn state established '( dport = :21 )' | grep -q 127.0.0.9:) ||
             grep -q 127.0.0.9 $S/commands || fail 'from elsewhere'; unmounts
         mounts bind=lo,mode=active; copies; unmounts
         echo '127.0.0.9 here.example' >$S/hosts; mount --bind $S/hosts /etc/hosts; mounts bind=here.example; ls $M >/dev/null; unmounts
         refuses bind=eth7; says $S/why 'bind=eth7'; refuses bind=192.0.2.1; says $S/why 'bind=192.0.2.1'",
    );
}

/// An announced address that is of this machine is the one that is listened on.
#[test]
fn announced_address_is_that_of_a_host_or_an_interface() {
    run(
        90,
        "ip address add 127.0.0.9/8 dev lo; proftpd 'AllowForeignAddress on'
         echo '127.0.0.9 here.example' >$S/hosts; mount --bind $S/hosts /etc/hosts
         for where in 127.0.0.9 here.example; do
             mounts mode=active,external_ip=$where; copies; unmounts; says $S/log '> EPRT |1|127.0.0.9|'; rm -f $D/up
         done
         mounts mode=active,external_ip=lo; copies; unmounts; says $S/log '> EPRT |1|127.0.0.1|'; rm -f $D/up
         for form in 127.0.0.9 here.example here.example:40000-40009 lo:40000 -:0 :40000-40009; do
             \"$FTPFS\" curlftpfs#$URL $M -o max_conns=2,ftp_port=$form; cmp $D/there/down $M/there/down; \"$FTPFS\" umount $M
         done
         for form in if!lo host!here.example ifhost!lo!127.0.0.9; do
             \"$FTPFS\" curlftpfs#$URL $M -o interface=$form; ls $M >/dev/null; \"$FTPFS\" umount $M
         done
         refuses external_ip=no.such.host.invalid; says $S/why 'no interface of this machine'",
    );
}

/// As DHCP or a redial does it.
#[test]
fn changed_address_of_an_interface_is_announced() {
    run(
        60,
        "ip link add outside type veth peer name other; ip address add 203.0.113.1/24 dev outside
         ip link set outside up; ip link set other up; proftpd 'AllowForeignAddress on'; cp $D/there/down $D/there/more
         mounts mode=active,external_ip=outside; copies; says $S/log '> EPRT |1|203.0.113.1|'
         ip address flush dev outside; ip address add 203.0.113.2/24 dev outside
         : >$S/log; copies; says $S/log '> EPRT |1|203.0.113.2|'; not_says $S/log 203.0.113.1
         ip address flush dev outside; ! cat $M/there/more >/dev/null 2>&1 || fail 'it was read'
         soon says $S/log 'external_ip=: this interface has no address'; unmounts",
    );
}

/// As behind NAT: the server reaches us only at the address outside, from which these ports are forwarded.
#[test]
fn external_address_is_sent_and_its_ports_forwarded() {
    run(
        90,
        "ip route add 203.0.113.9/32 dev lo src 127.0.0.1; proftpd 'AllowForeignAddress on'
         nft 'add table ip n; add chain ip n c { type nat hook output priority -100; }'
         nft 'add rule ip n c ip daddr 203.0.113.9 tcp dport 40000-40009 dnat to 127.0.0.1'
         mounts mode=active,external_ip=203.0.113.9,port_range=40000-40009; copies; unmounts
         says $S/log '> EPRT |1|203.0.113.9|4000'; not_says $S/log '> EPRT |1|127'
         nft 'flush chain ip n c'
         mounts mode=active,external_ip=203.0.113.9,port_range=40000-40009,timeout=4; ! ls $M 2>/dev/null || fail 'not forwarded'
         soon says $S/log 'no data connection can be made'",
    );
}

/// All sessions share the port, and one data connection at a time can be requested.
#[test]
fn one_passive_port_is_shared_by_all_connections() {
    run(
        90,
        "vsftpd pasv_min_port=50000 pasv_max_port=50000
         for n in {1..12}; do echo content $n >$S/f$n; done
         mounts ''
         copies=; for n in {1..12}; do cp $S/f$n $M/f$n & copies=\"$copies $!\"; done; for copy in $copies; do wait $copy || fail copy; done
         for n in {1..12}; do cmp $S/f$n $D/f$n; done
         mkdir $M/d; cp $S/f1 $M/d/; is \"$(ls $M/d)\" f1; is \"$(cat $M/d/f1)\" 'content 1'
         unmounts",
    );
}
