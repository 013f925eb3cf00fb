#!/bin/sh
# Sets up Grid Engine on the head node of a cluster that elastiq scales. Run it once, as root, on the head node; running
# it again changes nothing that is there already, and adds networks.
#
# The head node runs sge_qmaster; the workers are VMs that elastiq launches with gridengine-worker.sh as their user data.
# Written for Son of Grid Engine 8.1 as Debian and Ubuntu package it (apt-get install gridengine-master
# gridengine-client); for other packages, start sge_qmaster first and set SGE_ROOT, SGE_CELL and PATH.
#
# Grid Engine believes every administrative host, and on it the user root: whoever is root on a worker can do anything
# with the cluster. Workers have to be administrative hosts to join by themselves. Let nobody else into their network:
# ports 6444 of this machine and 6445 of the workers are for machines of the cluster only.
set -eu

# Networks whose addresses workers may have, without the last number, as many as needed, also in gridengine-worker.sh:
# 10.77.1 stands for 10.77.1.1 to 10.77.1.254. Each address gets a name of its own in /etc/hosts and may join.
worker_networks='10.77.1'

# The user that elastiq runs as.
elastiq_user=elastiq

head_name=$(hostname -f)
domain=${head_name#*.}
if getent hosts "$head_name" | grep -q '^127\.\|^::1'; then
  echo "$head_name is 127.0.0.1 here: give it the address in /etc/hosts by which workers reach it" >&2
  exit 1
fi

if ! qconf -sconf >/dev/null 2>&1; then
  echo "$head_name" >"${SGE_ROOT:-/var/lib/gridengine}/${SGE_CELL:-default}/common/act_qmaster"
  if [ -d /run/systemd/system ]; then
    systemctl enable gridengine-master
    systemctl restart gridengine-master
  else
    install -d -o sgeadmin -g sgeadmin /run/gridengine
    sge_qmaster
  fi
  tries=240
  until qconf -sconf >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "sge_qmaster does not answer" >&2; exit 1; }
    sleep 0.5
  done
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Jobs are submitted here; elastiq disables and removes hosts here.
qconf -as "$head_name" >/dev/null
qconf -ah "$head_name" >/dev/null || true
qconf -am "$elastiq_user" >/dev/null || true

for network in $worker_networks; do
  prefix=ip-$(echo "$network" | tr . -)
  if ! grep -q "[[:space:]]$prefix-1[[:space:]]*\$" /etc/hosts; then
    for number in $(seq 1 254); do
      echo "$network.$number $prefix-$number.$domain $prefix-$number" >>/etc/hosts
    done
  fi
  qconf -ah "$(seq -f "$prefix-%.0f.$domain" -s , 1 254)" >/dev/null 2>&1 || true
done

# What a worker says of itself, and what elastiq notes there. No job can ask for it.
qconf -sc | grep -v '^#' >"$work/complexes"
for name in elastiq_instance elastiq_address elastiq_closed; do
  grep -q "^$name " "$work/complexes" || echo "$name $name RESTRING == NO NO NONE 0" >>"$work/complexes"
done
qconf -Mc "$work/complexes" >/dev/null

# max_unheard: a worker is given up after so long without a word; 3 reports may be lost (load_report_time).
# reschedule_unknown: its jobs start elsewhere after so long, if elastiq, which sees that the VM is gone, was not faster.
# accounting_flush_time: by this file elastiq sees at once that a job has ended.
qconf -sconf | sed -e ':join' -e '/\\$/{N;s/\\\n[[:space:]]*//;b join' -e '}' >"$work/global.all"
sed -e 's/^max_unheard .*/max_unheard 00:02:30/' \
  -e 's/^reschedule_unknown .*/reschedule_unknown 00:05:00/' \
  -e '/accounting_flush_time/!s/^reporting_params .*/& accounting_flush_time=00:00:00/' \
  "$work/global.all" >"$work/global"
qconf -Mconf "$work/global" >/dev/null

# Jobs are placed a second after they were submitted or slots became free, and fill one VM before the next.
qconf -ssconf | sed -e 's/^flush_submit_sec .*/flush_submit_sec 1/' -e 's/^flush_finish_sec .*/flush_finish_sec 1/' \
  -e 's/^queue_sort_method .*/queue_sort_method load/' -e 's/^load_formula .*/load_formula slots/' \
  -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' >"$work/scheduler"
qconf -Msconf "$work/scheduler" >/dev/null

if ! qconf -shgrp @workers >/dev/null 2>&1; then
  printf 'group_name @workers\nhostlist NONE\n' >"$work/group"
  qconf -Ahgrp "$work/group" >/dev/null
fi

# smp: all slots on one machine. mpi: slots anywhere.
while read -r environment rule; do
  qconf -sp "$environment" >/dev/null 2>&1 && continue
  cat >"$work/environment" <<END
pe_name            $environment
slots              99999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $rule
control_slaves     TRUE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
END
  qconf -Ap "$work/environment" >/dev/null
done <<'END'
smp $pe_slots
mpi $fill_up
END

# One queue on all workers; a worker itself says how many slots it has. A job whose VM vanished starts again (rerun),
# unless it was submitted with -r n. The head node is in the queue with no slots: where there is no host at all, qsub
# warns and fails, although it takes the job.
if ! qconf -sq all.q >/dev/null 2>&1; then
  qconf -sq | sed -e 's/^qname .*/qname all.q/' -e 's/^hostlist .*/hostlist @workers/' -e "s/^slots .*/slots 9999,[$head_name=0]/" \
    -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's/^pe_list .*/pe_list smp mpi/' -e 's/^rerun .*/rerun TRUE/' \
    >"$work/queue"
  qconf -Aq "$work/queue" >/dev/null
  qconf -aattr hostgroup hostlist "$head_name" @workers >/dev/null
fi
echo "$head_name is ready for workers in $worker_networks"
